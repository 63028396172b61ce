"""Sources from COCO's JSON files, and every fault that such a file may have."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from bit_keras.data import DataError
from bit_keras.detection.data.loading import open_dataset

pytestmark = pytest.mark.any_backend


def test_a_file(write_coco):
    path = write_coco()
    source = open_dataset(f"coco:{path}", divide=False)
    assert source.class_names == ("cat", "dog", "cow"), "in the order of the ids, not of the file"
    assert source.category_ids == (3, 9, 41)
    assert (source.name, source.test_split, source.num_test) == ("boxes", "all", 5)
    split = source.test
    assert split.ids == (100, 101, 102, 103, 104)
    assert split.names == [str(path.parent / f"{name}.png") for name in "abcde"]
    assert split.sizes.tolist() == [[40, 60], [60, 40], [50, 50], [30, 64], [48, 48]]
    assert split.boxes[0].corners.dtype == np.float32
    assert split.boxes[0].corners.tolist() == [[5, 10, 20, 30], [22, 35, 38, 55]]
    assert split.boxes[0].labels.tolist() == [0, 1]
    assert split.boxes[0].areas.tolist() == [150, 160], "of the file, not of the boxes"
    assert split.boxes[2].corners.shape == (0, 4)
    assert split.labels.tolist() == [[0, 1], [2, -1], [-1, -1], [1, -1], [0, 2]]
    image, boxes = split.read(1)
    assert (image[:30] == 250).all()
    assert not image[30:].any()
    assert boxes is split.boxes[1]
    assert repr(source) == "DetectionSource(boxes: 5 training and 5 test examples (the all split) of 3 classes)"


def test_without_splits_a_fifth_is_held_out(write_coco):
    path = write_coco()
    source = open_dataset(f"coco:{path}", seed=3)
    assert (source.num_train, source.num_test) == (4, 1)
    assert sorted([*source.train.ids, *source.test.ids]) == [100, 101, 102, 103, 104]
    assert source.describe() == open_dataset(f"coco:{path}", seed=3).describe()
    others = {open_dataset(f"coco:{path}", seed=seed).test.ids for seed in range(12)}
    assert len(others) > 2
    assert (102,) not in others, "the only image without boxes is for training"
    held = source.hold_out(0.25)
    assert (held.num_train, held.num_validation, held.num_test) == (3, 1, 1)
    assert held.describe()["held_out"] == {"share": 0.25, "seed": 0}
    assert json.loads(json.dumps(held.describe())) == held.describe()
    assert held.validation.num_boxes
    alone = dataclasses.replace(source, train=source.train.take(np.array([0])))
    with pytest.raises(DataError, match=r"^images with boxes must be 2 or more, to train and to validate, got 1$"):
        alone.hold_out(0.5)


@pytest.mark.parametrize("layout", ["official", "beside", "roboflow"])
def test_folders_of_splits(layout, tmp_path, scenes):
    places = {
        "official": {"train": "train2017", "val": "val2017"},
        "beside": {"train": "images", "val": "images"},
        "roboflow": {"train": "train", "valid": "valid"},
    }[layout]
    for (split, folder), names in zip(places.items(), ("abc", "de"), strict=True):
        scenes.write_images(tmp_path / folder, names)
        path = {
            "official": f"annotations/instances_{folder}.json",
            "beside": f"{split}.json",
            "roboflow": f"{split}/_annotations.coco.json",
        }[layout]
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(json.dumps(scenes.coco_content(names)))
    source = open_dataset(f"coco:{tmp_path}")
    assert (source.num_train, source.num_test, source.test_split) == (3, 2, list(places)[1])
    assert source.test.boxes[1].corners.tolist() == [[1, 1, 4, 4], [10, 8, 48, 48]]
    assert source.validation is None
    whole = open_dataset(f"coco:{tmp_path / path}", divide=False)
    assert whole.test.fingerprint() == source.test.fingerprint()


def test_a_test_file_without_annotations_is_not_used(tmp_path, scenes):
    for split, names, changes in (("train", "abc", {}), ("val", "d", {}), ("test", "e", {"annotations": []})):
        scenes.write_images(tmp_path / "images" / split, names)
        (tmp_path / f"{split}.json").write_text(json.dumps(scenes.coco_content(names, **changes)))
    source = open_dataset(f"coco:{tmp_path}")
    assert (source.num_train, source.num_test, source.test_split) == (3, 1, "val")


def test_image_dir(write_coco, tmp_path, scenes):
    path = write_coco()
    elsewhere = tmp_path / "elsewhere" / "boxes.json"
    elsewhere.parent.mkdir()
    path.rename(elsewhere)
    for name in scenes.SCENES:
        (tmp_path / f"{name}.png").rename(tmp_path / "elsewhere" / f"moved_{name}.png")
    scenes.write_images(tmp_path / "far" / "away")
    with pytest.raises(DataError, match=r"boxes\.json: its images, such as 'a.png', are in none of .*image_dir names"):
        open_dataset(f"coco:{elsewhere}")
    assert open_dataset(f"coco:{elsewhere}", image_dir=tmp_path / "far" / "away").num_train == 4
    with pytest.raises(DataError, match="image_dir must be a folder"):
        open_dataset(f"coco:{elsewhere}", image_dir=tmp_path / "nowhere")


def test_crowds_are_ignored_boxes(write_coco, scenes):
    content = scenes.coco_content()
    content["annotations"][1]["iscrowd"] = 1
    boxes = open_dataset(f"coco:{write_coco(content)}", divide=False).test.boxes[0]
    assert boxes.ignored.tolist() == [False, True]
    split = open_dataset(f"coco:{write_coco(content)}", divide=False).test
    assert split.labels[0].tolist() == [0, -1]
    assert (split.num_boxes, sum(map(len, split.boxes))) == (5, 6), "those to train on, and all"


def test_boxes_beyond_the_border_by_a_pixel_are_clipped(write_coco, scenes):
    content = scenes.coco_content()
    content["annotations"][0]["bbox"] = [-0.9, -0.5, 61.5, 20]
    boxes = open_dataset(f"coco:{write_coco(content)}", divide=False).test.boxes[0]
    np.testing.assert_allclose(boxes.corners[0], [0, 0, 19.5, 60])


def _fault(content, change):
    change(content)
    return content


def _set(where, number, **values):
    return lambda content: content[where][number].update(values)


# {what the message says: what is changed}; the first annotations are of image a.png, of 60x40 pixels.
BOX_FAULTS = {
    r"a\.png: box 1 \[top 5, left 10, bottom 20, right 62\] leaves the image of 60x40": _set(
        "annotations", 0, bbox=[10, 5, 52, 15]
    ),
    r"a\.png: box 1 .* leaves the image": _set("annotations", 0, bbox=[-2, 5, 20, 15]),
    r"a\.png: box 1 .* is empty": _set("annotations", 0, bbox=[10, 5, 0, 15]),
    r"a\.png: box 1 .*right 5\] is empty": _set("annotations", 0, bbox=[10, 5, -5, 15]),
    r"a\.png: box 1 .* right 10\] is empty": _set("annotations", 0, bbox=[10, 10, 1e-7, 5]),  # in float32
    r"a\.png: box 1 .* is beside the image": _set("annotations", 0, bbox=[60 - 1e-7, 10, 0.5, 5]),
    r"a\.png: box 1 .* must have finite numbers": _set("annotations", 0, bbox=[10, 5, float("nan"), 15]),
    r"a\.png: box 2 .* is beside the image of 60x40 pixels": _set("annotations", 1, bbox=[60, 5, 1, 15]),
    r"a\.png: annotation 0 must have a bbox \[x, y, width, height\], got \[1, 2, 3\]": _set(
        "annotations", 0, bbox=[1, 2, 3]
    ),
    r"a\.png: annotation 0 must have a bbox .*, got \[1000": _set("annotations", 0, bbox=[10**400, 1, 2, 2]),
    r"a\.png: annotation 0 must have a bbox .*, got None": _set("annotations", 0, bbox=None),
    r"a\.png: annotation 0 must have a bbox .*'10'": _set("annotations", 0, bbox=["10", 5, 5, 5]),
    r"a\.png: annotation 1 has the category_id 7, which is not among the categories": _set(
        "annotations", 1, category_id=7
    ),
    r"a\.png: annotation 1 has the category_id \[3\]": _set("annotations", 1, category_id=[3]),
    r"a\.png: annotation 0 is listed more than once": _set("annotations", 1, id=0),
    r"a\.png: annotation 0 must have iscrowd 0 or 1, got 2": _set("annotations", 0, iscrowd=2),
    r"x\.png: no such file": _set("images", 0, file_name="x.png"),
    r"b\.png: is listed more than once": _set("images", 0, file_name="b.png"),
    r"a\.png: its annotations are for 61x40 pixels, the upright image has 60x40": _set("images", 0, width=61),
    r"a\.png: its annotations are for 2147483648x40 pixels": _set("images", 0, width=10**400),
    r"a\.png: has 1x1 pixels; images must have 2x2 or more": _set("images", 0, width=1, height=1),
}


@pytest.mark.parametrize("message", BOX_FAULTS)
def test_faults_are_listed_by_file(message, write_coco, scenes, caplog):
    path = write_coco(_fault(scenes.coco_content(), BOX_FAULTS[message]))
    with pytest.raises(DataError, match=f"(?s)1 of [45] images cannot be used:.*{message}.*skip_unreadable") as error:
        open_dataset(f"coco:{path}", divide=False)
    assert len(error.value.files) == 1
    twins = "b\\.png" in message
    assert open_dataset(f"coco:{path}", divide=False, skip_unreadable=True).num_test == (3 if twins else 4)
    assert "left out, 1 of" in caplog.text


def _boxless(content):
    content["annotations"] = []


def _all_crowd(content):
    for row in content["annotations"]:
        row["iscrowd"] = 1


FILE_FAULTS = {
    'must hold objects in the list "annotations"': lambda content: content.pop("annotations"),
    'must hold objects in the list "images"': lambda content: content.update(images=[1]),
    "an image must have an id and a file_name, got {'id': None": _set("images", 0, id=None),
    "the file_name of image 100 must lie in the folder of the images, got '../a.png'": _set(
        "images", 0, file_name="../a.png"
    ),
    "boxes.json has 1 faults:\n  the file_name of image 100": _set("images", 0, file_name="/a.png"),
    "got '/etc/passwd'": _set("images", 0, file_name="/etc/passwd"),
    "must lie in the folder of the images, got '\\ud800.png'": _set("images", 0, file_name="\ud800.png"),
    "got 'C:a.png'": _set("images", 0, file_name="C:a.png"),
    r"got '..\\\\a.png'": _set("images", 0, file_name="..\\a.png"),
    "image 101 is listed more than once": _set("images", 0, id=101),
    "annotation 0 has the image_id 7, of no image of the file": _set("annotations", 0, image_id=7),
    "a category must have a whole number as id and a name, got {'id': 'x'": _set("categories", 0, id="x"),
    "'dog' and 'cat' must have different ids, got 9": _set("categories", 1, id=9),
    "classes must have different names, got more than once: dog": _set("categories", 1, name="dog"),
    "classes must have names": _set("categories", 1, name=" "),
    "must list images, got none": lambda content: content.update(images=[], annotations=[]),
    "the data must have boxes that are not ignored, got none in 5 usable images": _boxless,
    "the data must have boxes that are not ignored": _all_crowd,
}


@pytest.mark.parametrize("message", FILE_FAULTS)
def test_faults_of_the_file(message, write_coco, scenes):
    path = write_coco(_fault(scenes.coco_content(), FILE_FAULTS[message]))
    with pytest.raises(DataError) as error:
        open_dataset(f"coco:{path}", skip_unreadable=True)
    assert message.replace("\\\\\\\\", "\\\\") in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "[" * 100_000, '{"images": 1e999}', "\xff\xfe\x00", '{"images": ' + "9" * 9_000 + "}"],
)
def test_what_is_no_json_of_coco(text, tmp_path):
    (tmp_path / "boxes.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"boxes\.json must "):
        open_dataset(f"coco:{tmp_path / 'boxes.json'}")


def test_size_of_a_file_is_bounded(write_coco, monkeypatch):
    path = write_coco()
    monkeypatch.setenv("BIT_KERAS_MAX_BYTES", "300")
    with pytest.raises(DataError, match="bytes; at most 300 are read, unless BIT_KERAS_MAX_BYTES allows more"):
        open_dataset(f"coco:{path}")


def test_unreadable_images_are_named(write_coco, tmp_path):
    path = write_coco()
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    (tmp_path / "d.png").write_text("no image")
    with pytest.raises(
        DataError, match=r"(?s)2 of 5 images cannot be used:.*b\.png: .*d\.png.*skip_unreadable"
    ) as error:
        open_dataset(f"coco:{path}")
    assert error.value.files == (str(tmp_path / "b.png"), str(tmp_path / "d.png"))
    assert open_dataset(f"coco:{path}", skip_unreadable=True, divide=False).test.ids == (100, 102, 104)


def test_images_that_their_exif_turns(write_coco, tmp_path, scenes):
    """Boxes are those of upright images; a file whose annotations state the size before the turn is refused."""
    path = write_coco()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image = scenes.paint(*scenes.SCENES["a"])
    Image.fromarray(np.rot90(image)).save(tmp_path / "a.png", exif=exif)
    split = open_dataset(f"coco:{path}", divide=False).test
    np.testing.assert_array_equal(split.read(0)[0], image)
    Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    with pytest.raises(
        DataError, match=r"a\.png: its annotations are for 60x40 pixels, the upright image has 40x60; if the EXIF"
    ):
        open_dataset(f"coco:{path}")


def test_an_image_that_changes_later(write_coco, tmp_path, scenes):
    source = open_dataset(f"coco:{write_coco()}", divide=False)
    Image.fromarray(scenes.paint(*scenes.SCENES["b"])).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"/a\.png must have 60x40 pixels, as when the data were opened, got 40x60"):
        source.test.read(0)


def test_identity_covers_boxes_classes_and_images(write_coco, tmp_path, scenes):
    before = open_dataset(f"coco:{write_coco()}").describe()
    assert before["kind"] == "coco"
    assert open_dataset(f"coco:{write_coco()}").describe() == before
    changes = [
        _set("annotations", 0, bbox=[10, 5, 20, 14]),
        _set("annotations", 0, category_id=41),
        _set("categories", 0, name="wolf"),
    ]
    changes += [_set("annotations", 0, iscrowd=1), _set("annotations", 0, area=3), _set("images", 0, id=77777)]
    for change in changes[:-1]:
        after = open_dataset(f"coco:{write_coco(_fault(scenes.coco_content(), change))}").describe()
        assert after["fingerprint"] != before["fingerprint"]
        assert after["content"] == before["content"]
    path = write_coco()
    image = scenes.paint(*scenes.SCENES["c"])
    image[0, 0] = 1
    Image.fromarray(image).save(tmp_path / "c.png")
    after = open_dataset(f"coco:{path}").describe()
    assert after["fingerprint"] == before["fingerprint"]
    assert after["content"] != before["content"]


def test_splits_must_have_the_same_categories(tmp_path, scenes):
    scenes.write_images(tmp_path)
    for split, names in {"train": "abc", "val": "de"}.items():
        content = scenes.coco_content(names)
        if split == "val":
            content["categories"][0]["name"] = "wolf"
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"all splits must have the categories of train.json; .* 9 'dog', 9 'wolf'"):
        open_dataset(f"coco:{tmp_path}")
    (tmp_path / "val.json").write_text(json.dumps(scenes.coco_content("ce")))
    with pytest.raises(DataError, match=r"c\.png: is in the splits train and val"):
        open_dataset(f"coco:{tmp_path}")


def test_classification_refuses_boxes(write_coco):
    source = open_dataset(f"coco:{write_coco()}")
    with pytest.raises(DataError, match=r"a few-shot draw takes one label per image; boxes has boxes"):
        source.few_shot(1, seed=0)


def _each_box(content, change):
    for row in content["annotations"]:
        row["bbox"] = change(*row["bbox"])
    return content


def test_relative_boxes(write_coco, scenes):
    sizes = {100 + number: scene[:2] for number, scene in enumerate(scenes.SCENES.values())}
    content = scenes.coco_content()
    for row in content["annotations"]:
        (height, width), (x, y, w, h) = sizes[row["image_id"]], row["bbox"]
        row["bbox"] = [x / width, y / height, w / width, h / height]
    message = (
        r"^boxes: no number of its boxes is larger than 1, so they are not in pixels: multiply "
        r"x and width by the width of the image, y and height by its height$"
    )
    with pytest.raises(DataError, match=message):
        open_dataset(f"coco:{write_coco(content)}", skip_unreadable=True)
    content["annotations"][2]["bbox"] = [0, 0, 40, 30]
    message = (
        r"^boxes: 5 of 6 boxes have no number larger than 0\.890625, so they are not in pixels: multiply "
        r".*\. These have another unit than most:\n  /.*/b\.png: box 1 \[0, 0, 40, 30\]$"
    )
    with pytest.raises(DataError, match=message):
        open_dataset(f"coco:{write_coco(content)}")


def test_relative_boxes_in_some_images(write_coco, scenes):
    content = scenes.coco_content()
    content["annotations"][1]["bbox"] = [0.1, 0.2, 0.3, 0.4]
    content["annotations"][2]["bbox"] = [0, 0, 1, 1]  # the whole image b.png
    message = (
        r"2 of 5 images cannot be used:\n"
        r"  /.*/a\.png: box 2 \[0\.1, 0\.2, 0\.3, 0\.4\] has no number above 1, as relative boxes, in an image of "
        r"60x40 pixels\n  /.*/b\.png: box 1 \[0, 0, 1, 1\] has no number above 1, .* of 40x60 pixels\nskip_unreadable"
    )
    with pytest.raises(DataError, match=message):
        open_dataset(f"coco:{write_coco(content)}")
    content = scenes.coco_content()
    content["annotations"][1]["bbox"] = [0, 0, 1, 1]  # beside a box in pixels, the pixel in the corner
    split = open_dataset(f"coco:{write_coco(content)}", divide=False).test
    assert split.boxes[0].corners[1].tolist() == [0, 0, 1, 1]


def test_boxes_of_one_pixel_in_images_of_two(write_coco, tmp_path, scenes):
    content = scenes.coco_content()
    for number, name in enumerate(scenes.SCENES):
        Image.new("RGB", (2, 2)).save(tmp_path / f"small_{name}.png")
        content["images"][number] |= {"file_name": f"small_{name}.png", "height": 2, "width": 2}
    _each_box(content, lambda *box: [0, 0, 1, 1])
    assert open_dataset(f"coco:{write_coco(content)}").train.boxes[0].corners[0].tolist() == [0, 0, 1, 1]


ORDERS = {
    "[left, top, right, bottom] (xyxy)": lambda x, y, w, h: [x, y, x + w, y + h],
    "[top, left, bottom, right] (yxyx)": lambda x, y, w, h: [y, x, y + h, x + w],
}


@pytest.mark.parametrize("order", ORDERS)
def test_another_order_is_named(order, write_coco, scenes):
    content = _each_box(scenes.coco_content("abd"), ORDERS[order])
    with pytest.raises(DataError) as error:
        open_dataset(f"coco:{write_coco(content)}")
    expected = (
        f"\nthe numbers fit as {order}; they were read as [left, top, width, height] (xywh): COCO's form has [left, "
        f"top, width, height]: correct the file, or write a CSV file, with box_format={order[-5:-1]}\nskip_unreadable"
    )
    assert expected in str(error.value)


def test_no_order_is_named_where_none_or_the_declared_one_fits(write_coco, scenes):
    content = scenes.coco_content()
    content["annotations"][0]["bbox"] = [10, 5, 52, 15]
    with pytest.raises(DataError, match=r"leaves the image of 60x40 pixels\nskip_unreadable"):
        open_dataset(f"coco:{write_coco(content)}")
    both = {**scenes.coco_content("e"), "annotations": scenes.coco_content("e")["annotations"][1:]}
    both["annotations"][0]["bbox"] = [8, 10, 48, 47]  # of an image of 48x48 pixels
    with pytest.raises(DataError, match=r"fit as \[left.*\(xyxy\) or \[top.*\(yxyx\); .*box_format=xyxy or yxyx"):
        open_dataset(f"coco:{write_coco(both)}")


def test_whole_numbers_that_pandas_writes(write_coco, scenes):
    expected = open_dataset(f"coco:{write_coco()}", divide=False)
    content = scenes.coco_content()
    for rows in content.values():
        for row in rows:
            row |= {name: float(value) for name, value in row.items() if isinstance(value, int)}
    source = open_dataset(f"coco:{write_coco(content)}", divide=False)
    assert source.describe() == expected.describe()
    assert json.dumps(source.test.ids) == json.dumps(expected.test.ids)
    assert json.dumps(source.category_ids) == "[3, 9, 41]"
    content["annotations"][1]["id"] = 0
    content["annotations"][0]["image_id"] = 100
    with pytest.raises(DataError, match=r"a\.png: annotation 0 is listed more than once"):
        open_dataset(f"coco:{write_coco(content)}")
    content["annotations"][0]["image_id"] = 100.5
    with pytest.raises(DataError, match=r"annotation 0 has the image_id 100\.5, of no image of the file"):
        open_dataset(f"coco:{write_coco(content)}")


def _turn(path, orientation, kind="PNG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(path).save(path, kind, exif=exif)


def test_turned_images_of_the_same_size_are_named(write_coco, tmp_path, caplog):
    path = write_coco()
    before = open_dataset(f"coco:{path}", divide=False).test.boxes[0].corners.tolist()
    assert "EXIF" not in caplog.text
    for name, orientation in {"a": 3, "b": 2, "c": 6, "d": 1, "e": 6}.items():  # c has no boxes
        _turn(tmp_path / f"{name}.png", orientation, "TIFF" if name == "b" else "PNG")
    expected = (
        r"the EXIF orientation turns 3 of 5 images, and no size shows which boxes are meant: they are taken for pixels "
        r"of the upright image, as viewers show it\. If they are those of the image before, remove the orientation "
        r"from the files \(exiftool -Orientation= FILE\): /\S*/a\.png, /\S*/b\.png, /\S*/e\.png$"
    )
    for _ in range(2):
        caplog.clear()
        source = open_dataset(f"coco:{path}", divide=False)
        (record,) = [record for record in caplog.records if "EXIF" in record.getMessage()]
        assert record.levelname == "WARNING"
        assert re.fullmatch(expected, record.getMessage())
    assert source.test.boxes[0].corners.tolist() == before
    _turn(tmp_path / "d.png", 4)
    open_dataset(f"coco:{path}", divide=False)
    assert re.search(r"turns 4 of 5 .*/a\.png, \S*/b\.png, \S*/d\.png and 1 more", caplog.text)


def test_what_the_size_decides_needs_no_warning(write_coco, tmp_path, scenes, caplog):
    path = write_coco()
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(np.rot90(scenes.paint(*scenes.SCENES["a"]), -1)).save(tmp_path / "a.png", exif=exif)
    open_dataset(f"coco:{path}")
    assert "EXIF" not in caplog.text
    content = scenes.coco_content()
    del content["images"][0]["height"]
    open_dataset(f"coco:{write_coco(content)}")
    Image.fromarray(np.rot90(scenes.paint(*scenes.SCENES["a"]), -1)).save(tmp_path / "a.png", exif=exif)
    open_dataset(f"coco:{path}")
    assert re.search(r"turns 1 of 5 images, .* FILE\): \S*/a\.png\n", caplog.text)
