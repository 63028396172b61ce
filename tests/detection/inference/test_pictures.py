"""Pictures of found objects, and their names as files."""

import numpy as np
import pytest
from PIL import Image

from bit_keras.detection.inference.found import Found
from bit_keras.detection.inference.pictures import PictureFolder, picture
from bit_keras.figures.boxes import colour_of

pytestmark = pytest.mark.any_backend


def _row(file: str, content=None, **changes) -> Found:
    image = np.full((600, 800, 3), 128, np.uint8) if content is None else content
    row = {
        "boxes": np.array([[100, 200, 300, 500]], np.float32),
        "scores": (0.876,),
        "names": ("$cat$",),
        "classes": (2,),
        "size": image.shape[:2] if isinstance(image, np.ndarray) else None,
        "content": image,
    }
    return Found(file, **{**row, **changes})


def test_a_picture_has_frame_and_caption_in_the_colour_of_the_class():
    drawn = picture(_row("a.png"))
    np.testing.assert_array_equal(drawn[98, 350], colour_of(2))
    np.testing.assert_array_equal(drawn[301, 350], colour_of(2))
    np.testing.assert_array_equal(drawn[200, 198], colour_of(2))
    np.testing.assert_array_equal(drawn[200, 501], colour_of(2))
    assert (drawn[100:300, 200:500] == 128).all()
    above = (drawn[:95] == colour_of(2)).all(-1)
    rows, columns = np.nonzero(above)
    assert len(rows) > 500
    assert columns.min() >= 195, "the caption is above its box, from its left on"
    other = picture(_row("a.png", names=("other",)))
    assert (other != drawn)[:95].any()
    assert not (other != drawn)[100:].any()


def test_floats_are_drawn_as_they_are_given():
    drawn = picture(_row("image 0", np.full((600, 800, 3), 127.6, np.float32)))
    np.testing.assert_array_equal(drawn[599, 799], [128] * 3)
    with pytest.raises(ValueError, match=r"a.png has no pixels"):
        picture(Found("a.png"))


def test_names_of_files(tmp_path):
    folder, empty = (
        PictureFolder(tmp_path / "new"),
        {"boxes": np.zeros((0, 4)), "scores": (), "names": (), "classes": ()},
    )
    image = np.zeros((2, 2, 3), np.uint8)
    names = {
        "a/x.jpg": "x.png",
        "b/x.jpg": "x-2.png",
        "b/X.PNG": "X-3.png",
        "c/x-2.jpg": "x-2-2.png",
        "../../..": "image.png",
        "..\\..\\up.png": "up.png",
        "folder/what?.jpg": "what.png",
        "who?me.jpg": "who_me.png",
        "/": "image-2.png",
        "": "image-3.png",
        "image 0": "image_0.png",
        "https://host/photos/bird.jpg?size=2/3": "bird.png",
        "$HOME 鳥\n.png": "$HOME_鳥_n.png",
        'a<b>:"|*.png': "a_b.png",
        "bad\udcff.png": "bad_udcff.png",
        ".hidden": "hidden.png",
        f"{'鳥' * 200}.png": f"{'鳥' * 50}.png",
        "nul\0.png": "nul_x00.png",
    }
    for file, name in names.items():
        path = folder.write(_row(file, image, **empty))
        assert path == tmp_path / "new" / name, file
        with Image.open(path) as written:
            assert written.size == (512, 512)
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(names.values()), "no unfinished files"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
