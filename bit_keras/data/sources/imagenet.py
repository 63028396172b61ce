"""Evaluation sets of ILSVRC-2012 from folders: its validation images, with ReaL's labels, and ImageNet-V2."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.examples import no_examples
from bit_keras.data.source import Source
from bit_keras.data.sources.folder import class_files, open_folder
from bit_keras.data.sources.image_files import open_image_files
from bit_keras.system.logs import logger
from bit_keras.zoo.evaluation_sets import EvaluationSet
from bit_keras.zoo.label_lists import list_of
from bit_keras.zoo.presets import LABELS

_LIST = "ilsvrc2012"
_NUMBERS = tuple(map(str, range(LABELS[_LIST])))
_VALIDATION_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
_REAL = "real.json"


def open_validation(row: EvaluationSet, root: Path, skip_unreadable: bool = False) -> Source:
    """Opens the validation images in folders named by the WordNet ids of their classes.

    Raises:
        DataError: the folders are not those of the 1,000 classes, or an image cannot be used.
    """
    names = [path.name for path in class_files(root, may_be_empty=True)]
    if list_of(names) != _LIST:
        raise DataError(
            f"{row.name}: {root} must hold the {LABELS[_LIST]:,} class folders of ILSVRC-2012, n01440764 to n15075141; "
            f"got {len(names):,}, such as {', '.join(names[:3])}"
        )
    return for_evaluation(row, open_folder(root, skip_unreadable=skip_unreadable, divide=False))


def open_v2(row: EvaluationSet, root: Path, skip_unreadable: bool = False) -> Source:
    """Opens a variant of ImageNet-V2 from class folders whose names are the numbers of the classes.

    The folder "10" is class 10: in alphabetical order it would be class 2.

    Raises:
        DataError: a folder is not the number of a class, or an image cannot be used.
    """
    found = class_files(root, may_be_empty=True)
    wrong = [path.name for path in found if path.name not in _NUMBERS]
    if wrong:
        raise DataError(
            f"{row.name}: {root} must hold class folders named 0 to {LABELS[_LIST] - 1}, got "
            f"{', '.join(shortened(wrong))}"
        )
    files = {path.name: images for path, images in found.items()}
    classes = {number: files.get(number, []) for number in _NUMBERS}
    source = open_image_files(row.name, root, {"train": classes}, skip_unreadable=skip_unreadable, divide=False)
    return for_evaluation(row, source)


def open_real(row: EvaluationSet, root: Path, skip_unreadable: bool = False) -> Source:
    """Opens validation images with the labels of ReaL; images without any label are left out.

    Args:
        row: of the table of evaluation sets.
        root: folder that has the images in it or in its subfolders, with real.json in it or beside it: a list that has
            the class numbers of image ILSVRC2012_val_00000001.JPEG first.
        skip_unreadable: as in `open_folder`.

    Raises:
        DataError: there are no such images, real.json is missing or has another form, or an image cannot be used.
    """
    numbered = {path: int(match[1]) for path in root.rglob("*") if (match := _VALIDATION_IMAGE.fullmatch(path.name))}
    if not numbered:
        raise DataError(f"{row.name}: {root} must hold images named ILSVRC2012_val_00000001.JPEG, got none")
    labels = _read_real(row, root)
    beyond = [path.name for path, number in numbered.items() if not 1 <= number <= len(labels)]
    if beyond:
        raise DataError(f"{row.name}: {_REAL} has {len(labels):,} images, and not {', '.join(shortened(beyond))}")
    files = sorted(path for path, number in numbered.items() if labels[number - 1])
    logger.info("%s: %d images without labels are left out", row.name, len(numbered) - len(files))
    source = open_image_files(row.name, root, {"train": {"all": files}}, skip_unreadable=skip_unreadable, divide=False)
    sets = [labels[numbered[Path(name)] - 1] for name in source.test.images]
    return for_evaluation(row, in_list(source, _NUMBERS, sets))


def _read_real(row: EvaluationSet, root: Path) -> list[list[int]]:
    path = next((folder / _REAL for folder in (root, root.parent) if (folder / _REAL).is_file()), None)
    if path is None:
        raise DataError(
            f"{row.name}: {_REAL} must be in {root} or beside it; it is in the repository "
            "google-research/reassessed-imagenet"
        )
    labels = read_json(row, path)
    if not isinstance(labels, list) or not all(isinstance(each, list) and _are_classes(each) for each in labels):
        raise DataError(f"{row.name}: {path} must be a list with a list of class numbers, 0 to 999, for each image")
    return labels


def _are_classes(values: list) -> bool:
    return all(type(value) is int and 0 <= value < LABELS[_LIST] for value in values)


def read_json(row: EvaluationSet, path: Path):
    """Returns what a JSON file of an evaluation set holds; raises DataError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{row.name}: {path} must be JSON: {error}") from error


def in_list(source: Source, class_names: tuple[str, ...], sets: list[list[int]]) -> Source:
    """Returns test images with a set of labels each: any of them is right.

    Args:
        source: the images.
        class_names: of the 1,000 classes of ILSVRC-2012, in its order.
        sets: numbers of classes, one or more for each image.
    """
    labels = np.full((len(sets), max(map(len, sets))), -1, np.int64)
    for line, classes in zip(labels, sets, strict=True):
        line[: len(classes)] = classes
    test = dataclasses.replace(source.test, labels=labels)
    identity = {**source.identity, "labels": hashlib.sha256(repr(sets).encode()).hexdigest()}
    return dataclasses.replace(source, class_names=class_names, test=test, identity=identity, multi_label=True)


def for_evaluation(row: EvaluationSet, source: Source) -> Source:
    """Returns a folder's images as an evaluation set, without training images."""
    if row.num_examples not in (None, source.num_test):
        logger.warning(f"{row.name}: {source.num_test:,} images instead of {row.num_examples:,}")
    return dataclasses.replace(
        source,
        name=row.name,
        train=no_examples(),
        test_split=row.split or "test",
        labels=_LIST,
        evaluation_only=row.reason,
    )
