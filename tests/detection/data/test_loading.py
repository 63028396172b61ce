"""Names of data with boxes; what they open is tested in `sources`."""

import pytest

from bit_keras.data import DataError
from bit_keras.detection.data.loading import open_dataset

pytestmark = pytest.mark.any_backend


def test_names_that_are_no_data(tmp_path):
    faults = {
        f"coco:{tmp_path}/none.json": "no such file or folder",
        f"coco:{tmp_path}": "must hold JSON files of its splits",
        "coco:": "must be followed by a path",
        f"{tmp_path}": "data with boxes must be given as coco:PATH of a JSON file",
        str(tmp_path / "boxes.json"): "data with boxes must be given as",
    }
    for name, message in faults.items():
        with pytest.raises(DataError, match=message):
            open_dataset(name)
    with pytest.raises(ValueError, match=r"box_format cannot be used for coco:.*, only for csv"):
        open_dataset(f"coco:{tmp_path}", box_format="xyxy")
    with pytest.raises(TypeError, match="did you mean"):
        open_dataset(f"coco:{tmp_path}", imagedir="x")
    with pytest.raises(ValueError, match="seed must lie in"):
        open_dataset(f"coco:{tmp_path}", seed=-1)
