from types import SimpleNamespace

import numpy as np
from matplotlib.image import imread

from bit_keras.figures import contact_sheet


def row(file, **values):
    return SimpleNamespace(
        **{"file": file, "name": None, "probability": None, "error": None, "thumbnail": None, **values}
    )


def test_pictures_names_and_errors(tmp_path):
    image = np.zeros((contact_sheet.SIDE, contact_sheet.SIDE, 3), np.uint8)
    rows = [
        row("photos/a.jpg", name="$5 or $1", probability=0.987, thumbnail=image),
        row("https://x.org/photos/of%20a%20very%20long%20name.jpg", error="no such file"),
    ]
    (axes,) = contact_sheet.contact_sheet(rows).axes
    assert [text.get_text() for text in axes.texts] == [
        "a.jpg\n$5 or $1 98.7%",
        f"...{rows[1].file[-21:]}\ncannot be read",
    ]
    np.testing.assert_array_equal(axes.images[0].get_array(), image)
    assert axes.images[1].get_array().min() == axes.images[1].get_array().max() > 100  # grey
    contact_sheet.write(tmp_path / "new" / "sheet.png", rows)
    assert np.std(imread(tmp_path / "new" / "sheet.png")) > 0.01
