"""The detection task, from emoji and photographs that the tests make."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pretraining import detection, emoji, photographs
from pretraining.pasting import Design

COUNTS = {"train": 12, "validation": 4, "test": 6}


def _picture(colour: str, box: tuple[int, int, int, int]) -> Image.Image:
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    picture.paste(Image.new("RGBA", (box[2] - box[0], box[3] - box[1]), colour), box[:2])
    return picture


@pytest.fixture
def rows(monkeypatch):
    """Emoji as (name, subcategory, colour, box of the picture, number of skin tones), in two styles."""
    rows = [
        ("point_left", "hand-single-finger", "red", (0, 20, 40, 40), 2),
        ("point_right", "hand-single-finger", "red", (24, 20, 64, 40), 2),  # point_left, mirrored
        ("grinning", "face-smiling", "yellow", (0, 0, 64, 64), 0),
        ("flag-no", "country-flag", "red", (0, 10, 64, 50), 0),
        ("flag-sj", "country-flag", "red", (0, 10, 64, 50), 0),  # the same
        ("skull", "face-negative", "white", (0, 0, 64, 64), 0),
        ("love_letter", "heart", "white", (0, 0, 64, 64), 0),
    ]

    def read():
        for style in ("google", "twitter"):
            for name, subcategory, colour, box, tones in rows:
                has = f"has_img_{style}"
                variations = {str(place): {"name": f"{name}-{place}", has: place > 0} for place in range(tones)}
                row = {"short_name": name, "subcategory": subcategory, "name": name, "skin_variations": variations}
                yield row, style, lambda _, colour=colour, box=box: _picture(colour, box)

    monkeypatch.setattr(emoji, "read", read)


def test_designs_are_the_emoji_of_the_kinds_without_those_that_look_the_same(rows):
    found = {design.name: (list(detection.KINDS)[design.label], design.pictures) for design in detection.designs()}
    assert {name: kind for name, (kind, _) in found.items()} == {
        "point_left": "hand",
        "grinning": "face",
        "flag-no": "flag",
    }
    assert [len(variants) for variants in found["point_left"][1]] == [2, 2]  # both styles; a tone has no picture
    assert [len(variants) for variants in found["grinning"][1]] == [1, 1]


def _designs() -> list[Design]:
    picture = _picture("red", (10, 0, 50, 60))
    return [
        Design(f"{kind}-{place}", label, [[picture]])
        for label, kind in enumerate(detection.KINDS)
        for place in range(12)
    ]


def test_a_design_is_in_one_split_and_stays_there():
    splits = detection.divided(_designs())
    names = {split: {design.name for design in designs} for split, designs in splits.items()}
    assert {split: len(found) for split, found in names.items()} == {"train": 35, "validation": 10, "test": 15}
    assert len(set.union(*names.values())) == 60
    for designs in splits.values():
        assert {design.label for design in designs} == set(range(len(detection.KINDS)))
    again = detection.divided(_designs()[::-1])
    assert names == {split: {design.name for design in designs} for split, designs in again.items()}


def test_a_photograph_is_in_one_split():
    names = [name for split in photographs.SPLITS.values() for name in split]
    assert len(names) == len(set(names)) == 43
    assert set(photographs.SPLITS) == set(detection.COUNTS)


def _write(folder, seed=0, counts=None):
    sheets = {
        split: {
            f"{split}-{name}": Image.new("RGB", (150, 140), (0, 0, blue))
            for name, blue in (("day", 255), ("night", 99))
        }
        for split in COUNTS
    }
    detection.write(folder, detection.divided(_designs()), sheets, counts or COUNTS, seed)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detection") / "emoji"
    return folder, _write(folder)


def test_boxes_in_the_files_enclose_exactly_the_visible_pixels(written):
    folder, _ = written
    names, places = {}, {}
    for split, count in COUNTS.items():
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(folder / "annotations" / f"instances_{split}.json")
        assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(detection.KINDS)
        assert len(coco.imgs) == len(list((folder / split).iterdir())) == count
        for number, row in coco.imgs.items():
            with Image.open(folder / split / row["file_name"]) as image:
                assert image.size == (row["width"], row["height"]) == (128, 128)
                visible = np.asarray(image)[..., 0] >= 128
            boxes = coco.loadAnns(coco.getAnnIds(number))
            assert 1 <= len(boxes) <= 4
            for box in boxes:
                x, y, width, height = box["bbox"]
                rows, columns = np.nonzero(visible[y : y + height, x : x + width])
                assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, height - 1, 0, width - 1)
                assert len(rows) == box["area"]
                assert box["emoji"].startswith(coco.cats[box["category_id"]]["name"])
                visible[y : y + height, x : x + width] = False
            assert not visible.any()
        names[split] = {box["emoji"] for box in coco.anns.values()}
        places[split] = {row["photograph"] for row in coco.imgs.values()}
    for found in (names, places):
        assert sum(map(len, found.values())) == len(set.union(*found.values()))  # nothing is in two splits


def test_one_seed_one_data_set(written, tmp_path):
    _, files = written
    assert len(files) == sum(COUNTS.values()) + 4
    assert _write(tmp_path / "again") == files
    other = _write(tmp_path / "other", seed=1)
    assert other.keys() == files.keys()
    assert all(other[name] != files[name] for name in files)
    fewer = _write(tmp_path / "fewer", counts={**COUNTS, "train": 3})
    assert {name for name in fewer if fewer[name] != files[name]} == {
        "annotations/instances_train.json",
        "contact_sheet.png",
    }


def test_an_interrupted_drawing_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(detection, "coco", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _write(tmp_path / "emoji")
    assert list(tmp_path.iterdir()) == []


def test_licences_and_terms_are_in_every_file(written):
    for split in COUNTS:
        content = json.loads(written[1][f"annotations/instances_{split}.json"])
        assert "CC BY 4.0" in content["licenses"][0]["name"]
        assert all(package in content["licenses"][1]["name"] for package in photographs.PACKAGES)
