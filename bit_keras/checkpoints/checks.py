"""What every array of a weight file must be, whatever its format."""

import math
import os

import numpy as np

from bit_keras.zoo.presets import LABELS
from bit_keras.zoo.variants import VARIANTS

# Float64 of the largest published network with the largest published head; no honest file of ours is bigger.
_MAX_BYTES = 8 * max(row.parameters + max(LABELS.values()) * (row.num_features + 1) for row in VARIANTS.values())
# Trained weights hardly compress; a head of zeros does.
_MAX_RATIO = 100


class CheckpointError(ValueError):
    """A weight file does not hold what it must."""


def max_bytes(path: str | os.PathLike) -> int:
    """Bytes of arrays that are read from a file at most: what the largest network needs or the file can hold."""
    return min(_MAX_BYTES, _MAX_RATIO * os.path.getsize(path))


def check_bytes(path: str | os.PathLike, promised: int) -> None:
    """Refuses a file before anything is allocated for it.

    Args:
        path: the file.
        promised: bytes of all arrays, as the file's headers state them.

    Raises:
        CheckpointError: that is more than `max_bytes`.
    """
    if promised > max_bytes(path):
        raise CheckpointError(
            f"{path}: a file of {os.path.getsize(path)} bytes promises arrays of {promised} bytes; "
            f"at most {max_bytes(path)} are read"
        )


def promised_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Bytes of an array, without the overflow of numpy's integers."""
    return math.prod(int(size) for size in shape) * dtype.itemsize


def check_floats(path: str | os.PathLike, name: str, dtype: np.dtype) -> None:
    """Raises CheckpointError if an entry does not hold floats."""
    if not np.issubdtype(dtype, np.floating):
        raise CheckpointError(f"{path}: {name} must hold floats, got {dtype}")


def check_finite(path: str | os.PathLike, name: str, array: np.ndarray) -> np.ndarray:
    """Returns `array`; raises CheckpointError if it holds NaN or infinity."""
    if not np.isfinite(array).all():
        raise CheckpointError(f"{path}: {name} must be finite, got NaN or infinity")
    return array
