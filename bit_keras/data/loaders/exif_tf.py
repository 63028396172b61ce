"""The EXIF orientation of JPEG and PNG files, in TensorFlow operations that TF Serving has as well."""

from bit_keras.data.loaders.bytes_tf import decode, numbers, substr
from bit_keras.data.loaders.exif import ORIENTATION
from bit_keras.data.tensorflow_for_data import tf

_EXIF = b"Exif\0\0"  # begins the body of the JPEG segment
# Most segments or chunks that are looked at.
_MOST = 1_000


def may_be_turned(encoded: tf.Tensor) -> tf.Tensor:
    """Returns False for most files without EXIF data, at little cost: their pixels begin right after the header.

    Args:
        encoded: scalar string, JPEG or PNG.
    """
    start = tf.strings.substr(encoded, 0, 41)
    first_tables = b"\xff\xdb"
    is_plain = (
        ((tf.strings.substr(start, 2, 4) == b"\xff\xe0\0\x10") & (tf.strings.substr(start, 20, 2) == first_tables))
        | (tf.strings.substr(start, 2, 2) == first_tables)
        | (tf.strings.substr(start, 37, 4) == b"IDAT")
    )
    return ~is_plain


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of an encoded image, as `exif.orientation` of its EXIF data; never raises.

    Only data before the pixels are found, where cameras and programs write them.

    Args:
        encoded: scalar string. Other files than JPEG and PNG are upright.

    Returns:
        int64 scalar, 1 (upright) to 8.
    """
    start = tf.strings.substr(encoded, 0, 4)
    exif = tf.case(
        [
            (tf.strings.substr(start, 0, 2) == b"\xff\xd8", lambda: _of_jpeg(encoded)),
            (start == b"\x89PNG", lambda: _of_png(encoded)),
        ],
        default=lambda: tf.constant(b""),
    )
    return _of_tiff(exif)


def _of_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF data of a JPEG file, "" if it has none: the segment APP1 that begins with `_EXIF`."""

    def head(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.unstack(numbers(encoded, at, tf.uint16, 2, little_endian=False))  # marker, length with itself

    def is_exif(at: tf.Tensor, marker: tf.Tensor) -> tf.Tensor:
        return (marker == 0xFFE1) & (substr(encoded, at + 4, len(_EXIF)) == _EXIF)

    def goes_on(at: tf.Tensor, marker: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        # Segments of applications, comments, and bytes that fill.
        is_passed_over = ((marker >= 0xFFE0) & (marker <= 0xFFEF)) | (marker >= 0xFFFE)
        return is_passed_over & ~is_exif(at, marker)

    def step(at: tf.Tensor, marker: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, ...]:
        at += tf.where(marker == 0xFFFF, tf.constant(1, tf.int64), 2 + length)
        return at, *head(at)

    start = tf.constant(2, tf.int64)
    at, marker, length = tf.while_loop(goes_on, step, (start, *head(start)), maximum_iterations=_MOST)
    size = tf.where(is_exif(at, marker), tf.maximum(length - 2 - len(_EXIF), 0), 0)
    return substr(encoded, at + 4 + len(_EXIF), size)


def _of_png(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF data of a PNG file, "" if it has none: the chunk eXIf."""

    def name(at: tf.Tensor) -> tf.Tensor:
        return substr(encoded, at + 4, 4)

    def length(at: tf.Tensor) -> tf.Tensor:
        return numbers(encoded, at, tf.int32, little_endian=False)[0]

    def goes_on(at: tf.Tensor, name: tf.Tensor) -> tf.Tensor:
        return (name != b"eXIf") & (name != b"IDAT") & (name != b"")

    def step(at: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        at += 12 + length(at)  # with the length itself, the name and a checksum
        return at, name(at)

    start = tf.constant(8, tf.int64)
    at, found = tf.while_loop(goes_on, step, (start, name(start)), maximum_iterations=_MOST)
    return substr(encoded, at + 8, tf.where(found == b"eXIf", length(at), 0))


def _of_tiff(tiff: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in the first directory of a TIFF file."""
    is_little = tf.strings.substr(tiff, 0, 2) == b"II"

    def number(at: tf.Tensor | int, kind: tf.DType) -> tf.Tensor:
        return numbers(tiff, at, kind, little_endian=is_little)[0]

    directory = number(4, tf.int32)
    size = 12 * number(directory, tf.uint16)
    # Entries of 12 bytes: tag, type, count, value.
    entries = substr(tiff, directory + 2, size)
    entries = tf.strings.substr(entries, 0, tf.strings.length(entries) // 12 * 12)
    fields = tf.reshape(decode(entries, tf.uint16, is_little), (-1, 6))
    values = tf.boolean_mask(fields[:, 4], fields[:, 0] == ORIENTATION)
    value = tf.concat([values, [1]], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)
