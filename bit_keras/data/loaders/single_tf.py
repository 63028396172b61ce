"""Prepares single image files in TensorFlow. `single` checks and documents the arguments."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bit_keras.data.loaders import preprocessing
from bit_keras.data.sources import exif


def file_reader(crop: int) -> Callable[[bytes], np.ndarray]:
    """See `bit_keras.data.single.file_reader`."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)])
    def prepare(encoded: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
        return preprocessing.test_image(preprocessing.upright(preprocessing.decode(encoded), orientation), crop=crop)

    run = prepare.get_concrete_function()  # traced here, and not by several threads at the same time

    def read(encoded: bytes) -> np.ndarray:
        try:
            with tf.device("CPU"):  # leaves the accelerator's memory to the model
                return run(tf.constant(encoded), tf.constant(exif.orientation(encoded), tf.int32)).numpy()
        except tf.errors.OpError as error:
            raise ValueError("cannot be decoded as JPEG, PNG, BMP, WebP or GIF") from error

    return read
