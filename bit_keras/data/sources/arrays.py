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
from bit_keras.system.npz import ERRORS, MAX_HEADER, check_compression

_ARRAYS = {"train_images", "train_labels", "test_images", "test_labels"}
_VALIDATION = {"validation_images", "validation_labels"}
# Names in the files of MedMNIST and of `keras.datasets`.
_OTHER_NAMES = {
    "val_images": "validation_images",
    "val_labels": "validation_labels",
    "x_train": "train_images",
    "y_train": "train_labels",
    "x_test": "test_images",
    "y_test": "test_labels",
}


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
        train_images: uint8 [N, H, W, 3]; or of grey values [N, H, W] or [N, H, W, 1], which are repeated.
        train_labels: integers [N] or [N, 1] in [0, number of classes). For multi-label data a matrix [N, number of
            classes] of booleans or of 0 and 1, with at least one label per row.
        test_images: the same for M images [M, H', W', 3].
        test_labels: the same for the M test images.
        class_names: one name per class; None for "0" up to the largest training label or the last column.
        name: name of the task.
        validation_images, validation_labels: as the test split, of images to choose the best weights on; None for none.

    Raises:
        DataError: an array has the wrong type or shape, is empty, or contains a label out of range.

    Example:
        >>> images, labels = np.zeros((6, 32, 32, 3), "uint8"), np.arange(6) % 2
        >>> bit_keras.data.from_arrays(images, labels, images, labels, class_names=["cat", "dog"])
        Source(arrays: 6 training and 6 test examples of 2 classes)
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
    shapes = [shape[:1] if shape[1:] == (1,) else shape for shape in shapes]
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
            "validation_images", "validation_labels" and "class_names", as in `from_arrays`; or with the names of
            MedMNIST ("val_images") or of Keras's data ("x_train").

    Raises:
        DataError: the file cannot be read or does not contain these arrays.

    Example:
        >>> from bit_keras.data.sources.arrays import open_arrays
        >>> images, labels = np.zeros((6, 32, 32, 3), "uint8"), np.arange(6) % 2
        >>> np.savez("task.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
        >>> open_arrays("task.npz")
        Source(task: 6 training and 6 test examples of 2 classes)
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            check_compression(archive)
        with np.load(path, allow_pickle=False, max_header_size=MAX_HEADER) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except ERRORS as error:
        reason = str(error).partition("\n")[0] or type(error).__name__  # NumPy continues with advice to trust the file
        raise DataError(f"{path} cannot be read as an npz file of arrays: {reason}") from error
    if odd := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise DataError(f"{path} must hold arrays alone, got {', '.join(odd)}")
    arrays = {_OTHER_NAMES.get(name, name): array for name, array in arrays.items()}
    if set(arrays) - {"class_names"} not in (_ARRAYS, _ARRAYS | _VALIDATION):
        raise DataError(
            f"{path} must hold {', '.join(sorted(_ARRAYS))} and may hold {', '.join(sorted(_VALIDATION))} and "
            f"class_names, got {list(arrays)}"
        )
    class_names = arrays.pop("class_names", None)
    return from_arrays(**arrays, class_names=None if class_names is None else class_names.tolist(), name=path.stem)


def _examples(split: str, images: np.ndarray, labels: np.ndarray) -> Examples:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        raise DataError(f"{split}_images must be uint8 in [0, 255], got {images.dtype}")
    if images.ndim == 3 and images.shape[:1] == labels.shape[:1]:
        images = images[..., None]
    if images.ndim == 4 and images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"{split}_images must have the shape [N, H, W, 3], got {list(images.shape)}")
    if not images.size:
        raise DataError(f"{split}_images must not be empty, got the shape {list(images.shape)}")
    if labels.ndim == 2:
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
