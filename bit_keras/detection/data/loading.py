"""Opens images with boxes by name."""

import os
from collections.abc import Sequence

from bit_keras.data.errors import DataError
from bit_keras.data.source import check_seed
from bit_keras.detection.data.annotations import DetectionSource
from bit_keras.detection.data.sources.coco import open_coco
from bit_keras.detection.data.sources.csv_file import open_box_table
from bit_keras.detection.data.sources.voc import open_voc
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import shows_messages
from bit_keras.system.optional import require
from bit_keras.system.paths import expanded

FORMS = (
    "coco:PATH of a JSON file or its folder, voc:PATH of a folder of XML files, the path of a CSV file, or a dataset "
    "of TensorFlow Datasets such as coco/2017"
)
# {argument: the kinds of data that use it}
_USED_BY = {
    "image_dir": ("coco",),
    "classes": ("voc", "csv"),
    "image_column": ("csv",),
    "label_column": ("csv",),
    "box_columns": ("csv",),
    "box_format": ("csv",),
    "box_unit": ("csv",),
}


@known_arguments
@shows_messages
def open_dataset(
    name: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    *,
    manual_dir: str | os.PathLike | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
    image_dir: str | os.PathLike | None = None,
    classes: str | os.PathLike | Sequence[str] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    box_columns: Sequence[str] | None = None,
    box_format: str | None = None,
    box_unit: str | None = None,
    verbose: bool = True,
) -> DetectionSource:
    """Opens the images and boxes of a task; all of them are checked.

    Data without a test split are tested on their validation split. Without both, 20 % of the images are for testing.
    `DetectionSource.hold_out` takes a validation split from the training images, as for classification.

    Args:
        name: one of
            "coco:PATH": a JSON file in the form of COCO, or a folder with the files of several splits, see `open_coco`;
            "voc:PATH": a folder of XML files in the form of PASCAL VOC, see `open_voc`;
            a path that ends in ".csv" or ".tsv": a file with a row per box, see `open_box_table`;
            else a dataset of TensorFlow Datasets, such as "coco/2017" or "voc/2007", which is downloaded and prepared
            if necessary.
        data_dir: data folder of TensorFlow Datasets, None for its default; not used by other sources.
        manual_dir: folder of archives that TensorFlow Datasets should not download; not used by other sources.
        seed: of the choice of test images, in [0, 2**32), for data without splits.
        skip_unreadable: True leaves out images that have a fault, in the file or in a box, with all their boxes.
        divide: False, for evaluation, makes all images of data without splits the test split, named "all".
        image_dir: folder of the images of a JSON file; None to look for it.
        classes: names, or a text file with one per line, for XML and CSV files; None for the names that occur.
        image_column, label_column, box_columns, box_format, box_unit: of a CSV file, see `open_box_table`.
        verbose: False shows only warnings, and no progress.

    Raises:
        DataError: the data do not exist, or do not have the required form.
        ImportError: the data need TensorFlow Datasets, which is not installed.
        ValueError: an argument is out of its range, or not used by data of this kind.

    Example:
        >>> from bit_keras import detection
        >>> source = detection.open_dataset("coco:boxes", verbose=False)  # boxes/train.json and its images
        >>> source.class_names, source.num_train, source.num_test
        (('square',), 8, 2)
    """
    name = expanded(name)
    check_seed(seed)
    options = {
        "image_dir": image_dir,
        "classes": classes,
        "image_column": image_column,
        "label_column": label_column,
        "box_columns": box_columns,
        "box_format": box_format,
        "box_unit": box_unit,
    }
    kind, path = _kind(name)
    unused = [option for option, value in options.items() if value is not None and kind not in _USED_BY[option]]
    if unused:
        raise ValueError(f"{', '.join(unused)} cannot be used for {name}, only for {' and '.join(_USED_BY[unused[0]])}")
    options = {option: value for option, value in options.items() if kind in _USED_BY[option]}
    usual = {"seed": seed, "skip_unreadable": skip_unreadable, "divide": divide}
    if kind == "coco":
        return open_coco(path, **options, **usual)
    if kind == "voc":
        return open_voc(path, **options, **usual)
    if kind == "csv":
        return open_box_table(path, **options, **usual)
    require(f"{name!r} of TensorFlow Datasets", "tensorflow", "tensorflow_datasets")
    from bit_keras.detection.data.sources.tfds import open_tfds  # slow to import

    return open_tfds(name, *(folder and expanded(folder) for folder in (data_dir, manual_dir)), **usual)


def uses_classes(name: str | os.PathLike) -> bool:
    """Whether the data have no list of classes of their own, so that `open_dataset` takes one."""
    return _kind(expanded(name))[0] in _USED_BY["classes"]


def _kind(name: str) -> tuple[str, str]:
    """Returns the kind of the data and their path; raises DataError for a name that has none of the forms."""
    prefix, colon, path = name.partition(":")
    if colon and prefix in ("coco", "voc"):
        if not path.strip():
            raise DataError(f"{name} must be followed by a path; allowed are {FORMS}")
        return prefix, expanded(path)
    if name.lower().endswith((".csv", ".tsv")):
        return "csv", name
    if not name.strip() or name.startswith(("/", ".", "~")) or os.path.exists(name):
        raise DataError(f"data with boxes must be given as {FORMS}; got {name!r}")
    return "tfds", name
