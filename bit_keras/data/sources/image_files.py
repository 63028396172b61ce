"""Sources from lists of image files, as found in a folder or listed in a CSV file."""

import hashlib
import math
import os
import struct
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bit_keras.data.errors import DataError
from bit_keras.data.examples import Examples
from bit_keras.data.held_out import FOR_TEST, TEST_SHARE, hold_out
from bit_keras.data.loaders.preprocessing_numpy import header_orientation
from bit_keras.data.remembered import remembered, stamp
from bit_keras.data.source import Source, median_size
from bit_keras.data.sources.scan import conditions, read_file, scan

_ROW = struct.Struct("<iib32s")  # height, width, EXIF orientation and SHA-256 of an image
Classes = dict[str, list[Path]]  # {class: its files}, both sorted


def open_image_files(
    name: str,
    root: Path,
    splits: Mapping[str, Classes],
    *,
    test_split: str = "test",
    groups: Mapping[Path, str] | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
) -> Source:
    """Returns a source of image files, each of which is decoded once to check it.

    Args:
        name: name of the task.
        root: folder; the fingerprint contains the paths relative to it.
        splits: {class: its files}, both sorted, of "train" and optionally "test" and "validation". Without "test", 20 %
            of the images of each class, at least one, are for testing, chosen by a permutation with `seed`.
        test_split: name of the test split in the data.
        groups: the group of each file, which is divided neither here nor by `Source.hold_out`; None for no groups.
        seed: of the split, in [0, 2**32); not used if a test split is given.
        skip_unreadable: True leaves out the images that cannot be used, as if they did not exist.
        divide: False, for evaluation, makes all images the test split, named "all", if there is no test split; classes
            may then be empty.

    Raises:
        DataError: the splits differ in their classes, two names differ only in their Unicode normal form, a class has
            too few images, or an image cannot be used.
    """
    names = {**{split: split for split in splits}, "test": test_split}
    train = splits["train"]
    for split, classes in splits.items():
        if train.keys() != classes.keys():
            raise DataError(
                f"{name}: all splits must have the same classes; "
                f"only in train: {sorted(train.keys() - classes.keys())}, "
                f"only in {names[split]}: {sorted(classes.keys() - train.keys())}"
            )
    _check_twins(name, train)
    files = [path for classes in splits.values() for path in _flatten(classes)]
    sizes, digests, _ = check_images(root, files, skip_unreadable)
    splits = {split: _only(sizes, classes) for split, classes in splits.items()}
    identity = {"kind": "folder"}
    if "test" not in splits and not divide:
        splits["test"], test_split = splits["train"], "all"
    elif "test" not in splits:
        splits["train"], splits["test"] = _divide(splits["train"], seed, groups)
        if seed:  # an identity without it means seed 0
            identity["split_seed"] = seed
    for split, classes in splits.items():
        empty = [label for label, files in classes.items() if not files]
        if test_split == "all" and len(empty) == len(classes):
            raise DataError(f"{name}: an evaluation set must have images that can be used; got none of {len(files):,}")
        if empty and test_split != "all":
            raise DataError(f"{name}: every class must have images that can be used; none in {names[split]}: {empty}")
    train_files, test_files = _flatten(splits["train"]), _flatten(splits["test"])
    identity["fingerprint"] = _fingerprint(root, train_files + test_files)
    if "validation" in splits:
        identity["validation"] = _fingerprint(root, _flatten(splits["validation"]))
    return Source(
        name=name,
        class_names=tuple(train),
        image_size=median_size([sizes[path] for path in train_files]),
        identity=identity,
        test_split=test_split,
        **{split: _examples(classes, groups, sizes, digests) for split, classes in splits.items()},
    )


class Checked(NamedTuple):
    """What is known of the images that can be used.

    Attributes:
        sizes: {file: height and width of the upright image}.
        digests: {file: its SHA-256}.
        orientations: {file: EXIF orientation, 1 to 8, by which the file is turned upright}.
    """

    sizes: dict[Path, list[int]]
    digests: dict[Path, bytes]
    orientations: dict[Path, int]


def check_images(root: Path, files: Sequence[Path], skip_unreadable: bool) -> Checked:
    """Returns what is known of the images that can be used.

    An image is decoded unless an earlier start has decoded it and its file has not changed since.
    """
    sizes, digests, orientations = np.zeros((len(files), 2), np.int32), {}, {}
    with remembered("image files with orientations", str(root.resolve()), conditions()) as table:
        stamps = list(map(stamp, files))  # before the files are read, so that a later change is noticed
        for index, (path, row) in enumerate(zip(files, map(table.get, stamps), strict=True)):
            if row is not None:
                height, width, orientations[path], digests[path] = _ROW.unpack(row)
                sizes[index], stamps[index] = (height, width), None

        def read(path: Path) -> bytes:
            content = read_file(path)
            orientations[path] = header_orientation(content)
            digests[path] = hashlib.sha256(content).digest()  # now, so that no file is read twice
            return content

        try:
            scan(files, skip_unreadable, read, sizes=sizes)
        finally:
            for path, key, size in zip(files, stamps, sizes.tolist(), strict=True):
                if key is not None and any(size):
                    table.put(key, _ROW.pack(*size, orientations[path], digests[path]))
    usable = {path: size for path, size in zip(files, sizes.tolist(), strict=True) if any(size)}
    return Checked(usable, digests, orientations)


def _check_twins(name: str, classes: Classes) -> None:
    """Raises DataError for names that look the same: macOS and Linux write accents in different ways."""
    first = {}
    for label in classes:
        twin = first.setdefault(unicodedata.normalize("NFC", label), label)
        if twin != label:
            raise DataError(
                f"{name}: two classes are called {label!r}, once as {twin!a} and once as {label!a}, with "
                "different Unicode normal forms (NFC and NFD): move the images of one to the other"
            )


def _only(usable: Collection[Path], classes: Classes) -> Classes:
    return {label: [path for path in files if path in usable] for label, files in classes.items()}


def _divide(classes: Classes, seed: int, groups: Mapping[Path, str] | None) -> tuple[Classes, Classes]:
    """Splits the files of each class into training and test files, at least one of each."""
    files = _flatten(classes)
    chosen = hold_out(_labels(classes), list(classes), TEST_SHARE, seed, FOR_TEST, _groups(files, groups))
    test = {path for path, is_chosen in zip(files, chosen, strict=True) if is_chosen}
    return (
        {label: [path for path in paths if path not in test] for label, paths in classes.items()},
        {label: [path for path in paths if path in test] for label, paths in classes.items()},
    )


def _flatten(classes: Classes) -> list[Path]:
    return [path for files in classes.values() for path in files]


def _labels(classes: Classes) -> np.ndarray:
    return np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])


def _groups(files: Sequence[Path], groups: Mapping[Path, str] | None) -> np.ndarray | None:
    return None if groups is None else np.array([groups[path] for path in files], dtype=object)


def _examples(
    classes: Classes,
    groups: Mapping[Path, str] | None,
    sizes: Mapping[Path, Sequence[int]],
    digests: Mapping[Path, bytes],
) -> Examples:
    files = _flatten(classes)
    names = np.array([str(path) for path in files], dtype=object)
    pixels = np.array([math.prod(sizes[path]) for path in files], np.int64)
    columns = {"groups": _groups(files, groups), "pixels": pixels}
    hashes = np.array([digests[path] for path in files], dtype=object)  # bytes of NumPy would lose zeros at the end
    return Examples(names, _labels(classes), in_files=True, digests=hashes, **columns)


def _fingerprint(root: Path, paths: Sequence[Path]) -> str:
    names = sorted((Path(os.path.relpath(path, root)).as_posix(), path.stat().st_size) for path in paths)
    return hashlib.sha256(repr(names).encode()).hexdigest()
