"""Sources from TensorFlow Datasets with boxes, such as coco/2017 and voc/2012."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError

from bit_keras.data.errors import DataError
from bit_keras.data.loaders import preprocessing_numpy
from bit_keras.data.sources.tfds import prepared
from bit_keras.data.sources.tfrecords import Records, offsets, unreadable
from bit_keras.data.splits import assign
from bit_keras.data.tensorflow_for_data import tf
from bit_keras.detection.data.annotations import Annotated, DetectionSource
from bit_keras.detection.data.entry import Entry, Form
from bit_keras.detection.data.scan import TURNED, boxes_of, faults_in, report
from bit_keras.detection.data.sources.coco_categories import CATEGORIES
from bit_keras.detection.data.sources.opened import open_splits
from bit_keras.system.logs import doing

_SPLITS = ("train", "validation", "test")
_IGNORED = ("is_crowd", "is_difficult")
_FORM = Form("yxyx", relative=True)
_VOC = Form("yxyx", relative=True, first=1)  # TFDS divides VOC's pixels as they are, and they count from 1
_SAMPLE = 1_000  # first images of a test split, of which one must have boxes


def open_tfds(
    name: str,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
) -> DetectionSource:
    """Opens a dataset of TensorFlow Datasets with boxes, which is downloaded and prepared if necessary.

    It must have the features "image" and "objects", a sequence of "bbox" and "label". Boxes with "is_crowd" or
    "is_difficult" are ignored ones (`Boxes.ignored`). The splits are those of `bit_keras.data.load`; a test split
    without boxes, as of coco and voc/2012, is not used. Every record is read once, to find its boxes, but no image is
    decoded. Areas are whole numbers in TFDS, so that objects of nearly 32x32 or 96x96 pixels may count as smaller ones
    than by COCO's own file.

    Args:
        name: "name", "name/config" or "name:version".
        data_dir, manual_dir, seed, skip_unreadable, divide: as in `bit_keras.detection.data.loading.open_dataset`.

    Raises:
        DataError: the dataset does not exist, has no boxes, is not in TFRecord files, cannot be downloaded or prepared,
            or an image or box cannot be used.
    """
    builder = prepared(name, data_dir, manual_dir)
    class_names = _class_names(name, builder)
    present = [split for split in _SPLITS if split in builder.info.splits]
    splits = assign(name, present, lambda split: _has_boxes(builder, split))
    found = {split: _read(builder, named, len(class_names), skip_unreadable) for split, named in splits.items()}
    return open_splits(
        found,
        seed,
        divide,
        name=name,
        class_names=class_names,
        category_ids=_category_ids(builder.name, class_names),
        identity={"kind": "tfds", "dataset": builder.info.full_name},
        test_split=splits.get("test", "test"),
    )


def _class_names(name: str, builder: tfds.core.DatasetBuilder) -> tuple[str, ...]:
    """Returns the names of the classes; raises DataError unless the dataset has boxes that can be read."""
    features = _columns(builder.info.features)
    objects = _columns(getattr(features.get("objects"), "feature", None))
    kinds = (tfds.features.Image, tfds.features.BBoxFeature, tfds.features.ClassLabel)
    found = (features.get("image"), objects.get("bbox"), objects.get("label"))
    is_detection = all(isinstance(feature, kind) for feature, kind in zip(found, kinds, strict=True))
    if not is_detection:
        raise DataError(
            f'{name} must have the features "image" and "objects", with "bbox" and "label"; it has '
            f"{builder.info.features}"
        )
    file_format = getattr(builder.info.file_format, "value", "tfrecord")
    if file_format != "tfrecord":
        raise DataError(f"{name} must be in TFRecord files, the default of TensorFlow Datasets; got {file_format}")
    return tuple(objects["label"].names)


def _columns(features: tfds.features.FeatureConnector | None) -> dict:
    return dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}


def _category_ids(name: str, class_names: Sequence[str]) -> tuple[int, ...]:
    """Returns COCO's category ids, which TFDS does not store; for other data 1 to K."""
    known = {label: number for number, label in CATEGORIES.items()}
    if name == "coco" and set(class_names) <= known.keys():
        return tuple(known[label] for label in class_names)
    return tuple(range(1, len(class_names) + 1))


def _features(record: bytes):
    return tf.train.Example.FromString(record).features.feature


def _has_boxes(builder: tfds.core.DatasetBuilder, split: str) -> bool:
    paths = [str(path) for path in builder.info.splits[split].filepaths]
    records = tf.data.TFRecordDataset(paths).take(_SAMPLE).as_numpy_iterator()
    return any(len(_features(record)["objects/label"].int64_list.value) for record in records)


def _read(builder: tfds.core.DatasetBuilder, split: str, num_classes: int, skip_unreadable: bool) -> Annotated:
    """Indexes the records of a split and reads their boxes."""
    info = builder.info.splits[split]
    paths, lengths, faults = [str(path) for path in info.filepaths], [], {}
    places, sizes, boxes, ids = [], [], [], []  # of usable images; a place is (file, number in the file)
    with doing(lambda: f"{sum(map(len, lengths)):,} of {info.num_examples:,} images of {split} read"):
        for file, path in enumerate(paths):
            lengths.append([])
            for number, record in enumerate(_records(path)):
                lengths[-1].append(len(record))
                where = Path(f"{path}, record {number}")
                entry, size = _entry(where, record, builder.name, num_classes)
                if entry.faults:
                    faults[entry.name] = entry.faults
                    continue
                places.append((file, number))
                sizes.append(size)
                boxes.append(boxes_of(entry, size))
                ids.append(entry.id)
    report(faults, info.num_examples, skip_unreadable)
    if all(found.ignored.all() for found in boxes):
        raise DataError(f"{builder.info.full_name}: {split} must have boxes that are not ignored, got none")
    begins = [offsets(np.array(of_file, np.int64)) for of_file in lengths]
    sizes = np.array(sizes, np.int32)
    images = Records(
        files=np.array(paths, object),
        file=np.array([file for file, _ in places], np.int32),
        offset=np.array([begins[file][number] for file, number in places], np.int64),
        length=np.array([lengths[file][number] for file, number in places], np.int64),
        labels=np.zeros(len(places), np.int64),
        number=np.array([number for _, number in places], np.int32),
        image="image",
        sizes=sizes,
    )
    return Annotated(images, tuple(boxes), tuple(ids), sizes)


def _records(path: str):
    try:
        yield from tf.data.TFRecordDataset(path).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise unreadable(Path(path), error) from error


def _entry(where: Path, record: bytes, dataset: str, num_classes: int) -> tuple[Entry, tuple[int, int]]:
    """Returns the boxes of a record, with their faults, and the size of its image."""
    try:
        features = _features(record)
        encoded = features["image"].bytes_list.value[0]
        size = preprocessing_numpy.header_size(encoded)
        turned = preprocessing_numpy.header_orientation(encoded) != 1
    except (DecodeError, IndexError, ValueError) as error:
        return Entry(where, "", *_no_boxes(), _FORM, faults=[f"the record is damaged: {error}"]), (0, 0)
    boxes = np.array(features["objects/bbox"].float_list.value, np.float64).reshape(-1, 4)
    labels = np.array(features["objects/label"].int64_list.value, np.int32)
    ignored = np.zeros(len(labels), bool)
    for name in _IGNORED:
        values = features[f"objects/{name}"].int64_list.value
        ignored |= np.array(values or ignored, bool)
    areas = np.array(features["objects/area"].int64_list.value or [math.nan] * len(labels), np.float64)
    areas = np.where(areas > 0, areas, math.nan)
    form = _VOC if dataset == "voc" else _FORM
    entry = Entry(where, _id(features, where), boxes, labels, ignored, areas, form)
    entry.faults += faults_in(entry, size)
    if turned:
        entry.faults.append(TURNED)
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        entry.faults.append(f"has labels out of [0, {num_classes}): {labels.min()} to {labels.max()}")
    return entry, size


def _no_boxes() -> tuple[np.ndarray, ...]:
    return np.zeros((0, 4)), np.zeros(0, np.int32), np.zeros(0, bool), np.zeros(0)


def _id(features, where: Path) -> int | str:
    """Returns COCO's id of an image, else the name of its file, else that of its record."""
    ids, names = features["image/id"].int64_list.value, features["image/filename"].bytes_list.value
    return ids[0] if ids else names[0].decode(errors="backslashreplace") if names else where.name
