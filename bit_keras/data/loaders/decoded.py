"""Decoded images that stay in memory, so that later passes over few images do not decode them again."""

from collections.abc import Callable

import tensorflow as tf

from bit_keras.data.loaders import preprocessing


def keeping_decoder() -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `preprocessing.decode` with a memory of its own, which lasts as long as the datasets that use it.

    Images are found again by their encoded bytes, so that it does not matter where they come from.
    """
    with tf.device("CPU"):  # anonymous: the table ends with the last dataset
        table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, ["", ""], experimental_is_anonymous=True)

    def decode(image: tf.Tensor) -> tf.Tensor:
        if image.dtype != tf.string:
            return image
        key = tf.bitcast(tf.raw_ops.Fingerprint(data=image[None], method="farmhash64")[0], tf.int64)
        encoded, kept = tf.unstack(table.lookup(key), num=2)

        def keep() -> tf.Tensor:
            pixels = preprocessing.decode(image)
            with tf.control_dependencies([table.insert(key, [image, tf.io.serialize_tensor(pixels)])]):
                return tf.identity(pixels)

        def read() -> tf.Tensor:
            return tf.ensure_shape(tf.io.parse_tensor(kept, tf.uint8), (None, None, 3))

        return tf.cond(encoded == image, read, keep)  # images of one key take turns

    return decode
