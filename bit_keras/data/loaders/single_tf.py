"""Prepares single image files in TensorFlow. `single` checks and documents the arguments."""

from collections.abc import Callable

import numpy as np

from bit_keras.data.loaders import preprocessing, preprocessing_numpy
from bit_keras.data.tensorflow_for_data import tf


def file_reader(crop: int, fit: str) -> Callable[[bytes], np.ndarray]:
    """See `bit_keras.data.single.file_reader`."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def prepare(encoded: tf.Tensor) -> tf.Tensor:
        return preprocessing.test_image(encoded, crop=crop, fit=fit)

    run = prepare.get_concrete_function()  # traced here, and not by several threads at the same time

    def read(encoded: bytes) -> np.ndarray:
        preprocessing_numpy.header_size(encoded)  # refuses other formats and too many pixels, with the reason
        try:
            with tf.device("CPU"):  # leaves the accelerator's memory to the model
                return run(tf.constant(encoded)).numpy()
        except tf.errors.OpError as error:
            raise ValueError("cannot be decoded: the image is damaged") from error

    return read
