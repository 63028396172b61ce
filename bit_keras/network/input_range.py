"""A warning about images outside of [-1, 1]: their classes would be wrong, without any error."""

import threading

import keras
import numpy as np

from bit_keras.network import execution
from bit_keras.system.logs import logger

LOOKS = 8  # batches of a network to look at; a caller that scales these scales the others, too
_ROWS = 32  # images of a batch to look at
_TOLERANCE = 1e-3  # beyond rounding
_lock = threading.Lock()


class RangeCheck:
    """Warns once if the images of a network are not in [-1, 1], and looks at its first batches only.

    It never changes an image, and skips what has no values yet: tensors of a graph that is being traced.
    """

    def __init__(self):
        self._left = LOOKS

    def __deepcopy__(self, memo) -> "RangeCheck":
        return RangeCheck()

    def look(self, images) -> None:
        """Looks at a batch [N, H, W, 3], an array or a tensor; anything else, such as a dataset, is not read."""
        if self._left <= 0 or not _has_values(images):
            return
        low, high = _extremes(images[:_ROWS])
        is_outside = low < -1 - _TOLERANCE or high > 1 + _TOLERANCE
        with _lock:
            if self._left <= 0:
                return  # another thread has warned meanwhile
            self._left = 0 if is_outside else self._left - 1
        if is_outside:
            logger.warning(
                "the network takes images in [-1, 1], got values from %.4g to %.4g, whose classes will be wrong: scale "
                "pixels from 0 to 255 by images / 127.5 - 1; bit_keras.predict does it for files and uint8 images",
                *(low, high),
            )


def _has_values(images) -> bool:
    is_batch = isinstance(images, np.ndarray) or execution.is_eager(images)
    return is_batch and len(images.shape) > 0 and 0 not in images.shape


def _extremes(images) -> tuple[float, float]:
    if isinstance(images, np.ndarray):
        return float(images.min()), float(images.max())
    return tuple(float(keras.ops.convert_to_numpy(find(images))) for find in (keras.ops.min, keras.ops.max))
