"""Tiles of images of a wheel that the tests make."""

import io
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretraining import trees

BOXES = [(5, 5, 25, 15), (95, 40, 115, 60), (70, 90, 80, 103), (140, 92, 150, 112)]  # edges; two lie across tiles
SIZE = (299, 201)


@pytest.fixture
def wheel(tmp_path):
    image = Image.new("RGB", SIZE, "green")
    root = ET.Element("annotation")
    for left, top, right, bottom in BOXES:
        image.paste("red", (left, top, right, bottom))
        corners = ET.SubElement(ET.SubElement(root, "object"), "bndbox")
        for field, number in zip(("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right, bottom)):
            ET.SubElement(corners, field).text = str(number)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("deepforest/data/wood.png", stream.getvalue())
        archive.writestr("deepforest/data/wood.xml", ET.tostring(root))
    return tmp_path / "x.whl"


def test_tiles_cover_the_image_and_boxes_stay_on_their_trees(wheel):
    image, boxes = trees.read(wheel, "wood")
    assert boxes == BOXES
    tiles = list(trees.tiles("wood", image, boxes, side=100))
    assert [tile.name for tile in tiles] == [f"wood_{row:02d}_{column:02d}" for row in range(2) for column in range(3)]
    assert [tile.image.size for tile in tiles] == [(100, 100), (99, 100), (100, 100), (100, 101), (99, 101), (100, 101)]
    for tile in tiles:
        red = np.asarray(tile.image)[..., 0] > 0
        for (left, top, right, bottom), *_ in tile.boxes:
            assert red[top:bottom, left:right].all()
            red[top:bottom, left:right] = False
        assert not red.any()
    # A quarter of the second box is in the first tile; of the third and the fourth the lower parts are 3 and 12 high.
    assert [[flags for _, *flags in tile.boxes] for tile in tiles] == [
        [[False, False], [True, True], [True, False]],
        [[True, False], [True, True]],
        [],
        [[True, True]],
        [[True, False]],
        [],
    ]


def test_a_folder_of_voc(wheel, tmp_path):
    image, boxes = trees.read(wheel, "wood")
    first, *others = trees.tiles("wood", image, boxes, side=100)
    folder = tmp_path / "trees"
    trees.write(folder, {"train": others, "test": [first]})
    lists = {path.stem: path.read_text().split() for path in (folder / "ImageSets" / "Main").iterdir()}
    assert lists == {"train": [tile.name for tile in others], "test": ["wood_00_00"]}
    stems = sorted(lists["train"] + lists["test"])
    for name, ending in (("JPEGImages", ".png"), ("Annotations", ".xml")):
        assert sorted(path.name for path in (folder / name).iterdir()) == [stem + ending for stem in stems]
    root = ET.parse(folder / "Annotations" / "wood_00_00.xml").getroot()
    assert root.findtext("filename") == "wood_00_00.png"
    assert [int(root.findtext(f"size/{field}")) for field in ("width", "height", "depth")] == [100, 100, 3]
    found = [
        [item.findtext("name"), *(int(corner.text) for corner in item.find("bndbox")), item.findtext("difficult")]
        for item in root.findall("object")
    ]
    # VOC counts pixels from 1, and both corners belong to the box.
    assert found == [["tree", 6, 6, 25, 15, "0"], ["tree", 96, 41, 100, 60, "1"], ["tree", 71, 91, 80, 100, "0"]]
    assert (folder / "contact_sheet.png").stat().st_size > 0


def test_images_are_in_one_split():
    names = [name for split in trees.SPLITS.values() for name in split]
    assert len(names) == len(set(names)) == 3


def test_the_wheel_is_verified(monkeypatch, tmp_path):
    called = []

    def run(command, check):
        called.append((command, Path(command[-1]).read_text(), check))

    monkeypatch.setattr(trees.subprocess, "run", run)
    assert trees.fetch(tmp_path / "new") == tmp_path / "new" / "deepforest-2.1.0-py3-none-any.whl"
    ((command, requirement, check),) = called
    assert check
    assert "--require-hashes" in command
    assert "--no-deps" in command
    assert requirement == f"deepforest==2.1.0 --hash=sha256:{trees._SHA256}\n"
    (tmp_path / "new" / "deepforest-2.1.0-py3-none-any.whl").touch()
    trees.fetch(tmp_path / "new")
    assert len(called) == 1  # it exists, so nothing is downloaded
