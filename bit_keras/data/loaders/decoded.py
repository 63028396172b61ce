"""A cache of decoded images for small data sets, whose later passes then need no decoding."""

from collections.abc import Callable

from bit_keras.data.loaders import preprocessing
from bit_keras.data.tensorflow_for_data import tf


def keeping_decoder() -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `preprocessing.decode` with its own cache, which is freed with the last dataset that uses it.

    The key of an image is a hash of its encoded bytes, so the cache works for any source.
    """
    with tf.device("CPU"):  # anonymous, so that the table is freed with the last dataset
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

        return tf.cond(encoded == image, read, keep)  # compares the bytes: images with the same hash replace each other

    return decode
