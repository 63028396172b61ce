"""From images, wherever they are, to arrays for a network."""

import numpy as np

from bit_keras.data.loaders import preprocessing_numpy
from bit_keras.data.single import file_reader
from bit_keras.inference.inputs import Input


class ImageReader:
    """Reads images, decodes them, and turns and resizes them as in evaluation; threads may share it.

    Args:
        resolution, fit, loader: as `crop`, `fit` and `loader` of `bit_keras.data.single.file_reader`.

    Raises:
        ImportError, ValueError: as `bit_keras.data.single.file_reader`.
    """

    def __init__(self, resolution: int, fit: str = "squash", loader: str | None = None):
        self._resolution, self._fit = resolution, fit
        self._read_file = file_reader(resolution, fit, loader)

    def __call__(self, each: Input) -> np.ndarray:
        """Returns float32 [resolution, resolution, 3] in [-1, 1].

        Raises:
            OSError, ValueError: the image cannot be read; the message is the reason.
        """
        content = each.read()
        if isinstance(content, bytes):
            return self._read_file(content)
        return preprocessing_numpy.test_image(content, crop=self._resolution, fit=self._fit)
