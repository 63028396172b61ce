"""Sources from arrays in memory."""

import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from bit_keras.data.errors import DataError, check_labels
from bit_keras.data.examples import Examples
from bit_keras.data.source import Source
from bit_keras.system.checks import known_arguments

_ARRAYS = {"train_images", "train_labels", "test_images", "test_labels"}
_VALIDATION = {"validation_images", "validation_labels"}


@known_arguments
def from_arrays(
    train_images: ArrayLike,
    train_labels: ArrayLike,
    test_images: ArrayLike,
    test_labels: ArrayLike,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    validation_images: ArrayLike | None = None,
    validation_labels: ArrayLike | None = None,
) -> Source:
    """Returns a source of arrays in memory.

    Args:
        train_images: uint8 [N, H, W, 3].
        train_labels: integers [N] in [0, number of classes). For multi-label data a matrix [N, number of classes] of
            booleans or of 0 and 1, with at least one label per row.
        test_images: uint8 [M, H', W', 3].
        test_labels: the same for the M test images.
        class_names: one name per class; None for "0" up to the largest training label or the last column.
        name: name of the task.
        validation_images, validation_labels: as the test split, of images to choose the best weights on; None for none.

    Raises:
        DataError: an array has the wrong type or shape, is empty, or contains a label out of range.
    """
    if (validation_images is None) != (validation_labels is None):
        raise DataError("validation_images and validation_labels must be given together, got one of them")
    arrays = {"train": (train_images, train_labels), "test": (test_images, test_labels)}
    if validation_images is not None:
        arrays["validation"] = validation_images, validation_labels
    splits = {split: _examples(split, *pair) for split, pair in arrays.items()}
    train = splits["train"]
    multi_label = train.labels.ndim == 2
    shapes = [np.shape(labels) for _, labels in arrays.values()]
    if len({shape[1:] for shape in shapes}) > 1:
        raise DataError(f"all splits must have labels of one kind and of the same classes, got the shapes {shapes}")
    if class_names is None:
        class_names = [str(label) for label in range(shapes[0][1] if multi_label else train.labels.max() + 1)]
    if not len(class_names):
        raise DataError("class_names must be a name per class, got none")
    if multi_label and len(class_names) != shapes[0][1]:
        raise DataError(f"labels must have a column for each of {len(class_names)} classes, got {shapes[0][1]}")
    for split, examples in splits.items():
        check_labels(f"{split}_labels", examples.labels, len(class_names))
    identity = {"kind": "arrays", "fingerprint": _fingerprint(class_names, train, splits["test"])}
    if "validation" in splits:
        identity["validation"] = _fingerprint(class_names, splits["validation"])
    return Source(
        name=name,
        class_names=tuple(class_names),
        image_size=train.images.shape[1:3],
        identity=identity,
        multi_label=multi_label,
        **splits,
    )


def open_arrays(path: str | os.PathLike) -> Source:
    """Opens the arrays in an npz file.

    Args:
        path: file with the arrays "train_images", "train_labels", "test_images", "test_labels" and optionally
            "validation_images", "validation_labels" and "class_names", as in `from_arrays`. Greyscale images may be
            [N, H, W]; their values are repeated.

    Raises:
        DataError: the file cannot be read or does not contain these arrays.
    """
    path = Path(path).expanduser()
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as an npz file of arrays: {error}") from error
    if set(arrays) - {"class_names"} not in (_ARRAYS, _ARRAYS | _VALIDATION):
        raise DataError(
            f"{path} must hold {', '.join(sorted(_ARRAYS))} and may hold {', '.join(sorted(_VALIDATION))} and "
            f"class_names, got {list(arrays)}"
        )
    for name in arrays:
        if name.endswith("_images") and arrays[name].ndim == 3:
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
    if labels.ndim == 2 and labels.shape[1] > 1:
        return Examples(images, _label_indices(split, labels, len(images)))
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{split}_labels must be integers, got {labels.dtype}")
    if labels.shape != images.shape[:1]:
        raise DataError(f"{split}_labels must have the shape [{len(images)}], as the images, got {list(labels.shape)}")
    return Examples(images, labels.astype(np.int64))


def _label_indices(split: str, matrix: np.ndarray, length: int) -> np.ndarray:
    """Returns the class indices of a multi-hot matrix, int64 [N, L] padded with -1."""
    if len(matrix) != length or not np.isin(matrix, (0, 1)).all() or not matrix.any(axis=1).all():
        raise DataError(
            f"{split}_labels, a matrix, must have a row for each of {length} images, with 0 or 1 for each class and "
            f"one 1 or more, got {matrix.dtype} {list(matrix.shape)}, of which {np.count_nonzero(matrix)} are not 0"
        )
    columns = np.nonzero(matrix)[1]
    counts = np.count_nonzero(matrix, axis=1)
    indices = np.full((length, counts.max()), -1, np.int64)
    indices[np.arange(counts.max()) < counts[:, None]] = columns
    return indices


def _fingerprint(class_names: Sequence[str], *splits: Examples) -> str:
    digest = hashlib.sha256(repr(list(class_names)).encode())
    for split in splits:
        for array in (split.images, split.labels):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
