"""Checks of weight files that all formats share: sizes, types and values of the arrays, kinds of errors."""

import contextlib
import errno
import math
import os
from collections.abc import Iterator

import numpy as np

from bit_keras.zoo.presets import LABELS
from bit_keras.zoo.variants import VARIANTS

# The largest variant with the largest published head, in float64: no legitimate file is larger.
LARGEST_BYTES = 8 * max(row.parameters + max(LABELS.values()) * (row.num_features + 1) for row in VARIANTS.values())
# Bytes of arrays per byte of the file. Trained weights hardly compress; a head of zeros does.
_MAX_RATIO = 100


class CheckpointError(ValueError):
    """A weight file is damaged, or does not hold the weights that are required.

    Example:
        >>> from bit_keras.checkpoints import CheckpointError
        >>> try:
        ...     bit_keras.load_weights(bit_keras.BiT("R17x0.5", num_classes=10), "BiT-mini-R17x0.5")
        ... except CheckpointError as error:
        ...     print(error)
        the weights do not fit R17x0.5 with 10 classes (- missing, + unused, ! misshapen):
        ! resnet/head/conv2d/kernel is (1, 1, 1024, 360), must be (1, 1, 1024, 10)
        ! resnet/head/conv2d/bias is (360,), must be (10,)
    """


def max_bytes(path: str | os.PathLike) -> int:
    """Returns the most bytes of arrays to read from a file, by the largest network and by the size of the file."""
    return min(LARGEST_BYTES, _MAX_RATIO * os.path.getsize(path))


def check_bytes(path: str | os.PathLike, promised: int) -> None:
    """Checks a file's declared size before any memory is allocated for it.

    Args:
        path: the file.
        promised: bytes of all arrays together, as stated in the file's headers.

    Raises:
        CheckpointError: `promised` is more than `max_bytes`.
    """
    if promised > max_bytes(path):
        raise CheckpointError(
            f"{path}: a file of {os.path.getsize(path)} bytes promises arrays of {promised} bytes; "
            f"at most {max_bytes(path)} are read"
        )


def promised_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Returns the bytes of an array, in Python integers, which do not overflow on the sizes in a damaged header."""
    return math.prod(int(size) for size in shape) * dtype.itemsize


def check_floats(path: str | os.PathLike, name: str, dtype: np.dtype) -> None:
    """Raises CheckpointError unless the type of an entry is a floating-point type."""
    if not np.issubdtype(dtype, np.floating):
        raise CheckpointError(f"{path}: {name} must hold floats, got {dtype}")


def check_finite(path: str | os.PathLike, name: str, array: np.ndarray) -> np.ndarray:
    """Returns `array`; raises CheckpointError if it holds NaN or infinity."""
    if not np.isfinite(array).all():
        raise CheckpointError(f"{path}: {name} must be finite, got NaN or infinity")
    return array


@contextlib.contextmanager
def reading(path: str | os.PathLike, what: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns the errors that a damaged file causes within the block into CheckpointError.

    Args:
        path: the file.
        what: it should be, for example "npz file of arrays".
        errors: types that the reader raises for a damaged file. An OSError for a reason outside of the file is raised
            as it is: permissions, a full disk, too many open files.
    """
    try:
        yield
    except CheckpointError:
        raise
    except errors as error:
        if _is_system_error(error):
            raise
        # The first line: NumPy continues with advice to trust the file.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} is no readable {what}: {reason}") from error


def _is_system_error(error: Exception) -> bool:
    """Tells whether an error has a reason outside of the file.

    A damaged file can raise OSError as well, but only with EINVAL, from a seek to a negative offset, or without a code.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
