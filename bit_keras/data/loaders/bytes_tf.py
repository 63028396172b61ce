"""Numbers and parts of the bytes in a TensorFlow string, also beyond its end."""

from bit_keras.data.tensorflow_for_data import tf


def numbers(
    data: tf.Tensor, at: tf.Tensor | int, kind: tf.DType, count: int = 1, *, little_endian: bool | tf.Tensor = True
) -> tf.Tensor:
    """Returns unsigned numbers at a position of a string; zeros follow its end.

    Args:
        data: scalar string.
        at: integer scalar, 0 or more.
        kind: tf.uint8, tf.uint16, or tf.int32 for 32 bits.
        count: how many numbers follow each other.
        little_endian: byte order, a bool scalar.

    Returns:
        int64 [count].
    """
    size = count * kind.size
    return decode(substr(data, at, size), kind, little_endian, size)


def decode(
    data: tf.Tensor, kind: tf.DType, little_endian: bool | tf.Tensor = True, size: int | None = None
) -> tf.Tensor:
    """As `numbers`, for all of a string; zeros follow up to `size` bytes."""

    def of(order: bool) -> tf.Tensor:
        # The remainder, because TensorFlow does not decode uint32.
        return tf.cast(tf.io.decode_raw(data, kind, order, size), tf.int64) % 256**kind.size

    if isinstance(little_endian, bool):
        return of(little_endian)
    return tf.where(little_endian, of(True), of(False))


def substr(data: tf.Tensor, at: tf.Tensor | int, size: tf.Tensor | int) -> tf.Tensor:
    """As `tf.strings.substr`, with "" beyond the end instead of an error."""
    length = tf.cast(tf.strings.length(data), tf.int64)
    return tf.strings.substr(data, tf.minimum(tf.cast(at, tf.int64), length), tf.cast(size, tf.int64))
