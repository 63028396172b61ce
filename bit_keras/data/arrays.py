"""Sources from arrays in memory."""

import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError
from bit_keras.data.examples import Examples
from bit_keras.data.fewshot import check_labels
from bit_keras.data.source import Source

_ARRAYS = {"train_images", "train_labels", "test_images", "test_labels"}


def from_arrays(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
) -> Source:
    """Makes a source from arrays.

    Args:
        train_images: uint8 [N, H, W, 3].
        train_labels: integers [N] in [0, number of classes).
        test_images: uint8 [M, H', W', 3].
        test_labels: integers [M] in [0, number of classes).
        class_names: one name for each class; None for "0" up to the largest training label.
        name: what the task is called.

    Raises:
        DataError: an array has another type or shape, is empty, or holds a label out of range.
    """
    train = _examples("train", train_images, train_labels)
    test = _examples("test", test_images, test_labels)
    if class_names is None:
        class_names = [str(label) for label in range(train.labels.max() + 1)]
    check_labels("train_labels", train.labels, len(class_names))
    check_labels("test_labels", test.labels, len(class_names))
    return Source(
        name=name,
        class_names=tuple(class_names),
        image_size=train.images.shape[1:3],
        train=train,
        test=test,
        identity={"kind": "arrays", "fingerprint": _fingerprint(train, test, class_names)},
    )


def open_arrays(path: str | os.PathLike) -> Source:
    """Opens the arrays in an npz file.

    Args:
        path: holds "train_images", "train_labels", "test_images", "test_labels" and, where wanted, "class_names", as
            `from_arrays` takes them. Grey images may be [N, H, W]; their values are repeated.

    Raises:
        DataError: the file is not such a file.
    """
    path = Path(path).expanduser()
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as an npz file of arrays: {error}") from error
    if set(arrays) - {"class_names"} != _ARRAYS:
        raise DataError(f"{path} must hold {', '.join(sorted(_ARRAYS))} and may hold class_names, got {list(arrays)}")
    for name in ("train_images", "test_images"):
        if arrays[name].ndim == 3:
            arrays[name] = np.repeat(arrays[name][..., None], 3, axis=-1)
    class_names = arrays.pop("class_names", None)
    return from_arrays(**arrays, class_names=None if class_names is None else class_names.tolist(), name=path.stem)


def _examples(split: str, images: np.ndarray, labels: np.ndarray) -> Examples:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        raise DataError(f"{split}_images must be uint8 in [0, 255], got {images.dtype}")
    if images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"{split}_images must have the shape [N, H, W, 3], got {list(images.shape)}")
    if not images.size:
        raise DataError(f"{split}_images must not be empty, got the shape {list(images.shape)}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{split}_labels must be integers, got {labels.dtype}")
    if labels.shape != images.shape[:1]:
        raise DataError(f"{split}_labels must have the shape [{len(images)}], as the images, got {list(labels.shape)}")
    return Examples(images, labels.astype(np.int64))


def _fingerprint(train: Examples, test: Examples, class_names: Sequence[str]) -> str:
    digest = hashlib.sha256(repr(list(class_names)).encode())
    for array in (train.images, train.labels, test.images, test.labels):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
