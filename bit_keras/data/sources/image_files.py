"""Sources from lists of image files, as found in a folder or listed in a CSV file."""

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError
from bit_keras.data.examples import Examples
from bit_keras.data.source import Source, median_size
from bit_keras.data.sources.scan import scan

TEST_SPLITS = ("test", "validation", "val")  # the first one that exists is used
_TEST_SHARE = 0.2  # fraction of the images for testing, in data without splits

Classes = dict[str, list[Path]]  # {class: its files}, both sorted


def open_image_files(
    name: str, root: Path, train: Classes, test: Classes | None, *, seed: int = 0, skip_unreadable: bool = False
) -> Source:
    """Returns a source of image files, each of which is decoded once to check it.

    Args:
        name: name of the task.
        root: folder; the fingerprint contains the paths relative to it.
        train: {class: its files}, both sorted.
        test: the same for the test split. If None, `train` is split: 20 % of the images of each class, at least one,
            are for testing, chosen by a permutation with `seed`.
        seed: of the split, in [0, 2**32); not used if a test split is given.
        skip_unreadable: True leaves out the images that cannot be used, as if they did not exist.

    Raises:
        DataError: the splits differ in their classes, a class has too few images, or an image cannot be used.
    """
    if test is not None and train.keys() != test.keys():
        raise DataError(
            f"{name}: both splits must have the same classes; only in train: {sorted(train.keys() - test.keys())}, "
            f"only in test: {sorted(test.keys() - train.keys())}"
        )
    sizes = scan([*_flatten(train), *_flatten(test or {})], skip_unreadable)
    train = _only(sizes, train)
    identity = {"kind": "folder"}
    if test is None:
        train, test = _divide(train, seed)
        if seed:  # an identity without it means seed 0
            identity["split_seed"] = seed
    else:
        test = _only(sizes, test)
    for split, classes in {"train": train, "test": test}.items():
        empty = [label for label, files in classes.items() if not files]
        if empty:
            raise DataError(f"{name}: every class must have images that can be used; none in {split}: {empty}")
    train_files, test_files = _flatten(train), _flatten(test)
    return Source(
        name=name,
        class_names=tuple(train),
        image_size=median_size([sizes[path] for path in train_files]),
        train=_examples(train),
        test=_examples(test),
        identity={**identity, "fingerprint": _fingerprint(root, train_files + test_files)},
    )


def _only(usable: Collection[Path], classes: Classes) -> Classes:
    return {label: [path for path in files if path in usable] for label, files in classes.items()}


def _divide(classes: Classes, seed: int) -> tuple[Classes, Classes]:
    """Splits the files of each class into training and test files, at least one of each."""
    train, test = {}, {}
    for name, files in classes.items():
        if len(files) < 2:
            raise DataError(f"class {name!r} must have 2 images or more, to train and to test, got {len(files)}")
        order = np.random.RandomState(seed).permutation(len(files))
        num_test = max(1, round(_TEST_SHARE * len(files)))
        test[name] = [files[i] for i in sorted(order[:num_test])]
        train[name] = [files[i] for i in sorted(order[num_test:])]
    return train, test


def _flatten(classes: Classes) -> list[Path]:
    return [path for files in classes.values() for path in files]


def _examples(classes: Classes) -> Examples:
    files = _flatten(classes)
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    names = np.array([str(path) for path in files], dtype=object)
    return Examples(names, labels, in_files=True)


def _fingerprint(root: Path, paths: Sequence[Path]) -> str:
    names = sorted((Path(os.path.relpath(path, root)).as_posix(), path.stat().st_size) for path in paths)
    return hashlib.sha256(repr(names).encode()).hexdigest()
