"""Prepares single images exactly as test batches do, for prediction."""

from collections.abc import Callable

import numpy as np

from bit_keras.data.batches import uses_tensorflow
from bit_keras.data.loaders import preprocessing_numpy


def file_reader(crop: int, fit: str = "squash", loader: str | None = None) -> Callable[[bytes], np.ndarray]:
    """Returns a function that decodes an image file, turns it upright and resizes it; threads may share it.

    Args:
        crop: side in pixels to which images are resized, 1 or more.
        fit: how the image becomes a square, one of `bit_keras.zoo.fits.FITS`.
        loader: whose decoders to use, as in `bit_keras.data.choose_loader`: "tf.data" for those of TensorFlow, "grain"
            for Pillow's (the package grain itself is not needed), None for TensorFlow's if it is installed. They differ
            in some pixels of a JPEG file.

    Returns:
        Function from the contents of a file to float32 [crop, crop, 3] in [-1, 1], the image that `test_batches`
        contain for this file. It raises ValueError, with the reason, if the image cannot be decoded.

    Raises:
        ImportError: TensorFlow is not installed.
        ValueError: `loader` has another value.
    """
    if uses_tensorflow(loader):
        from bit_keras.data.loaders.single_tf import file_reader

        return file_reader(crop, fit)

    def read(encoded: bytes) -> np.ndarray:
        return preprocessing_numpy.test_image(preprocessing_numpy.decode(encoded), crop=crop, fit=fit)

    return read
