"""Sources from TensorFlow Datasets, prepared by TFDS's own code from small archives in place of the downloads."""

import importlib.util
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from bit_keras.data import DataError
from bit_keras.detection.data import batches
from bit_keras.detection.data.loading import open_dataset
from bit_keras.detection.data.sources.coco_categories import CATEGORIES

SPLITS = {"train": "abc", "val": "de", "test": "a"}
VOC = """<annotation><size><width>{}</width><height>{}</height></size>{}</annotation>"""
VOC_OBJECT = """<object><name>{}</name><pose>Left</pose><truncated>0</truncated><difficult>{}</difficult><bndbox>
<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


def _write_jpeg(path: Path, scene: tuple, scenes, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scenes.paint(*scene)).save(path, quality=95, **options)


def _coco(root: Path, scenes, change=lambda content: None, **options) -> None:
    """Writes what TFDS extracts from the archives of COCO 2017."""
    (root / "annotations").mkdir(parents=True)
    number_of = {name: number for number, name in CATEGORIES.items()}
    old = {3: "cat", 9: "dog", 41: "cow"}
    for split, names in SPLITS.items():
        content = scenes.coco_content(names)
        for row in content["images"]:
            row["file_name"] = row["file_name"].replace(".png", ".jpg")
        for row in content["annotations"]:
            row["category_id"] = number_of[old[row["category_id"]]]
        content["annotations"][0]["iscrowd"] = int(split == "train")
        content["annotations"][-1]["area"] += 0.9
        content["categories"] = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
        change(content)
        kind = "instances" if split != "test" else "image_info"
        (root / "annotations" / f"{kind}_{split}2017.json").write_text(json.dumps(content))
        for name in names:
            _write_jpeg(root / f"{split}2017" / f"{name}.jpg", scenes.SCENES[name], scenes, **options)


def _voc(root: Path, scenes) -> None:
    """Writes what TFDS extracts from the archives of VOC 2007; the second object of an image is difficult."""
    folder = root / "VOCdevkit" / "VOC2007"
    for sub in ("ImageSets/Main", "Annotations"):
        (folder / sub).mkdir(parents=True)
    for split, names in SPLITS.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            height, width, boxes = scenes.SCENES[name]
            objects = [
                VOC_OBJECT.format(label, int(number == 1), left + 1, top + 1, right, bottom)
                for number, (label, top, left, bottom, right) in enumerate(boxes)
            ]
            (folder / "Annotations" / f"{name}.xml").write_text(VOC.format(width, height, "".join(objects)))
            _write_jpeg(folder / "JPEGImages" / f"{name}.jpg", scenes.SCENES[name], scenes)


@pytest.fixture
def extracted(monkeypatch, tmp_path):
    """Folder that TFDS takes for the extracted archives."""
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download_and_extract",
        lambda self, urls: {name: str(tmp_path / "extracted") for name in urls},
    )
    return tmp_path / "extracted"


def _open(name, tmp_path, **options):
    return open_dataset(name, data_dir=tmp_path / "tfds", **options)


def test_coco(extracted, tmp_path, scenes):
    _coco(extracted, scenes)
    source = _open("coco/2017", tmp_path)
    assert (source.num_train, source.num_test, source.validation) == (3, 2, None), "the test split has no boxes"
    assert source.test_split == "validation"
    assert source.num_classes == 80
    assert source.category_ids == tuple(CATEGORIES)
    assert {number for number in range(1, 91)} - {*source.category_ids} == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert source.class_names[:3] == ("person", "bicycle", "car")
    place = source.train.ids.index(100)
    boxes = source.train.boxes[place]
    np.testing.assert_allclose(boxes.corners, [[5, 10, 20, 30], [22, 35, 38, 55]], atol=1e-4)
    assert [source.class_names[label] for label in boxes.labels] == ["cat", "dog"]
    assert [source.category_ids[label] for label in boxes.labels] == [17, 18]
    assert boxes.ignored.tolist() == [True, False]
    assert boxes.areas.tolist() == [150, 160]
    of_last = source.test.boxes[source.test.ids.index(101)]
    assert of_last.areas[1] == 38 * 40 / 2, "TFDS cuts 760.9 off"
    assert len(source.train.boxes[source.train.ids.index(102)]) == 0
    for index in range(3):
        image, boxes = source.train.read(index)
        for (top, left, bottom, right), label in zip(boxes.corners.round().astype(int), boxes.labels, strict=True):
            middle = image[(top + bottom) // 2, (left + right) // 2]
            assert np.abs(middle.astype(int) - scenes.COLOURS[source.class_names[label]]).max() < 12
    again = _open("coco/2017", tmp_path)
    assert again.describe() == source.describe()
    assert source.describe()["dataset"] == "coco/2017/1.1.0"
    assert source.describe()["content"]


def test_batches_have_random_access_to_the_records(extracted, tmp_path, scenes):
    _coco(extracted, scenes)
    source = _open("coco/2017", tmp_path)
    (images, targets) = batches.train_batches(source, batch_size=3, size=32, seed=0, max_boxes=2)[5]
    assert images.shape == (3, 32, 32, 3)
    later = batches.train_batches(source, batch_size=3, size=32, seed=0, max_boxes=2, start_step=5)[0]
    np.testing.assert_array_equal(later[0], images)
    np.testing.assert_array_equal(later[1]["boxes"], targets["boxes"])
    tested = batches.test_batches(source, batch_size=3, size=32)
    assert [len(images) for images, _ in tested] == [2]
    held = source.hold_out(0.4)
    assert (held.num_train, held.num_validation) == (2, 1)
    assert {*held.train.ids, *held.validation.ids} == {100, 101, 102}
    for index in range(2):
        image, _ = held.train.read(index)
        assert image.shape[:2] == tuple(held.train.sizes[index])


def test_voc_counts_pixels_from_1(extracted, tmp_path, scenes):
    _voc(extracted, scenes)
    source = _open("voc/2007", tmp_path)
    assert (source.num_train, source.num_validation, source.num_test) == (3, 2, 1)
    assert source.num_classes == 20
    assert source.category_ids == tuple(range(1, 21))
    boxes = source.train.boxes[source.train.ids.index("a.jpg")]
    np.testing.assert_allclose(boxes.corners, [[5, 10, 20, 30], [22, 35, 38, 55]], atol=1e-4)
    np.testing.assert_allclose(boxes.areas, [300, 320], rtol=1e-5)
    assert boxes.ignored.tolist() == [False, True]
    assert [source.class_names[label] for label in boxes.labels] == ["cat", "dog"]
    np.testing.assert_allclose(source.train.boxes[source.train.ids.index("b.jpg")].corners, [[0, 0, 30, 40]], atol=1e-4)


def test_faulty_boxes_are_named(extracted, tmp_path, scenes):
    def empty(content):
        content["annotations"][0]["bbox"][2] = 0

    _coco(extracted, scenes, empty)
    with pytest.raises(
        DataError, match=r"(?s)1 of 3 images cannot be used:.*tfrecord-00000-of-00001, record \d: .*is empty"
    ):
        _open("coco/2017", tmp_path)
    source = _open("coco/2017", tmp_path, skip_unreadable=True)
    assert {*source.train.ids} == {101, 102}
    for index, boxes in enumerate(source.train.boxes):
        assert source.train.read(index)[1] is boxes


def test_images_that_exif_turns_are_named(extracted, tmp_path, scenes):
    exif = Image.Exif()
    exif[0x0112] = 3
    _coco(extracted, scenes, exif=exif)
    with pytest.raises(
        DataError, match=r"3 of 3 images cannot be used:.*\n.*the EXIF orientation of the file turns it"
    ):
        _open("coco/2017", tmp_path)


def test_damaged_files_are_named(extracted, tmp_path, scenes):
    _coco(extracted, scenes)
    _open("coco/2017", tmp_path)
    (path,) = (tmp_path / "tfds").glob("coco/2017/*/*train*tfrecord*")
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tfrecord-00000-of-00001 cannot be read as a TFRecord file, it is corrupted"):
        _open("coco/2017", tmp_path)


def test_data_without_boxes(mock_tfds, tmp_path):
    with (
        mock_tfds("cifar10", {"train": 10, "test": 5}, 5),
        pytest.raises(DataError, match='must have the features "image"'),
    ):
        open_dataset("cifar10")


def test_other_formats_than_tfrecord(extracted, tmp_path, scenes, monkeypatch):
    _coco(extracted, scenes)
    monkeypatch.setattr(tfds.core.DatasetInfo, "file_format", tfds.core.FileFormat.ARRAY_RECORD)
    builder = tfds.builder("coco/2017", data_dir=tmp_path / "tfds")
    monkeypatch.setattr("bit_keras.detection.data.sources.tfds.prepared", lambda *arguments: builder)
    with pytest.raises(DataError, match=r"must be in TFRecord files, .* got array_record"):
        _open("coco/2017", tmp_path)


def test_the_categories_of_coco_are_those_of_torchvision():
    package = Path(importlib.util.find_spec("torchvision").origin).parent
    meta = runpy.run_path(str(package / "models" / "_meta.py"))  # the package needs a build of its own for CPUs
    listed = {
        number: name for number, name in enumerate(meta["_COCO_CATEGORIES"]) if name not in ("__background__", "N/A")
    }
    assert listed == CATEGORIES


def test_without_tensorflow_datasets(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *arguments: None)
    with pytest.raises(ImportError, match=r"'coco/2017' of TensorFlow Datasets needs the package tensorflow"):
        open_dataset("coco/2017")


def test_unknown_names(tmp_path):
    with pytest.raises(DataError, match="cocoo"):
        _open("cocoo", tmp_path)
    assert tf.io.gfile.listdir(str(tmp_path)) == []
