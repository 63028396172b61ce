"""Preprocessing and augmentation of a single image in TensorFlow."""

import math
import re

from bit_keras.data.loaders import exif_tf, preprocessing_numpy
from bit_keras.data.loaders.preprocessing_numpy import JPEG, PNG
from bit_keras.data.tensorflow_for_data import tf
from bit_keras.zoo.fits import CENTRAL

# Most pixels of a JPEG that TensorFlow decodes: 2**29 bytes. Larger ones have at least this size as a file: a bit for
# each of three blocks in two that JPEG divides 64 pixels into.
_MAX_JPEG_PIXELS, _MIN_BYTES = 2**29 // 3, 2**18
_OPERATION = re.compile(r"\{\{.*?\}\} | \[Op:.*?\]")  # in messages of TensorFlow, where it failed


def decode(image: tf.Tensor) -> tf.Tensor:
    """Decodes an image, a scalar string, to upright uint8 [H, W, 3]; a decoded one is returned unchanged.

    Formats, conversions and the EXIF orientation are those of `preprocessing_numpy.decode`. TensorFlow decodes JPEG and
    PNG, Pillow what is larger than TensorFlow allows or has another format.
    """
    if image.dtype != tf.string:
        return image

    is_simple = (tf.io.is_jpeg(image) | is_png(image)) & ~exif_tf.may_be_turned(image)
    is_simple &= tf.strings.length(image) < _MIN_BYTES
    return tf.cond(is_simple, lambda: _decode_stored(image), lambda: _decode_other(image))


def decode_in_graph(encoded: tf.Tensor) -> tf.Tensor:
    """As `decode`, for JPEG and PNG, GIF of one frame, and BMP in true colours or grey; without Python code."""
    pixels, orientation = _decode_stored(encoded), exif_tf.orientation(encoded)
    return tf.cond(orientation == 1, lambda: pixels, lambda: upright(pixels, orientation))


def _decode_stored(encoded: tf.Tensor) -> tf.Tensor:
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(pixels, (None, None, 3))


# A call in graphs, which costs nothing where it is not taken; inlined, each of its operations would.
@tf.function(
    input_signature=[tf.TensorSpec((), tf.string)], experimental_attributes={"_noinline": True}, autograph=False
)
def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
    def with_pillow() -> tf.Tensor:
        # Not stateful: it is run in parallel, also with op determinism.
        return tf.numpy_function(preprocessing_numpy.decode, [encoded], tf.uint8, stateful=False)

    pixels = tf.cond(_is_for_tensorflow(encoded), lambda: decode_in_graph(encoded), with_pillow)
    return tf.ensure_shape(pixels, (None, None, 3))


def _is_for_tensorflow(encoded: tf.Tensor) -> tf.Tensor:
    def is_small_jpeg() -> tf.Tensor:
        return tf.reduce_prod(tf.image.extract_jpeg_shape(encoded, tf.int64)[:2]) <= _MAX_JPEG_PIXELS

    return tf.cond(tf.io.is_jpeg(encoded), is_small_jpeg, lambda: is_png(encoded))


def is_png(encoded: tf.Tensor) -> tf.Tensor:
    """As `tf.io.is_jpeg`."""
    return tf.strings.substr(encoded, 0, len(PNG)) == PNG


def measure(encoded: bytes) -> tuple[int, int]:
    """Decodes an image and returns height and width in pixels, upright.

    Raises:
        ValueError: as `preprocessing_numpy.decode`.
    """
    size = preprocessing_numpy.header_size(encoded)
    is_small_jpeg = encoded.startswith(JPEG) and math.prod(size) <= _MAX_JPEG_PIXELS
    if not (is_small_jpeg or encoded.startswith(PNG)):
        return preprocessing_numpy.measure(encoded)
    try:
        tf.io.decode_image(encoded, channels=3, expand_animations=False)
    except tf.errors.OpError as error:
        raise ValueError(f"cannot be decoded: {_OPERATION.sub('', error.message)}") from error
    return size


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors an image according to its EXIF orientation.

    Args:
        image: [H, W, C].
        orientation: int scalar, 1 to 8; EXIF 2.32, section 4.6.4.

    Returns:
        [H, W, C], or [W, H, C] for orientations from 5 on.
    """

    def when(values: tuple[int, ...], change, image: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.reduce_any(orientation == tf.constant(values, orientation.dtype)), lambda: change(image), lambda: image
        )

    image = when((5, 6, 7, 8), lambda image: tf.transpose(image, (1, 0, 2)), image)
    image = when((2, 3, 6, 7), lambda image: tf.reverse(image, [1]), image)
    return when((3, 4, 7, 8), lambda image: tf.reverse(image, [0]), image)


def train_image(
    image: tf.Tensor,
    seed: tf.Tensor,
    *,
    resize: int,
    crop: int,
    random_crop: bool = True,
    flip: bool = True,
    fit: str = "squash",
) -> tf.Tensor:
    """Augments an image according to the BiT-HyperRule.

    Source: official `input_pipeline_tf2_or_jax.py`, except for the flip, which mirrors every image there.

    Args:
        image: uint8 [H, W, 3] or an encoded image.
        seed: int64 [2]; the result is a pure function of image and seed.
        resize: side in pixels before the crop.
        crop: side in pixels of the result.
        random_crop: False resizes directly to `crop`.
        flip: True mirrors half of the images.
        fit: how the image becomes a square of `resize` pixels, one of `bit_keras.zoo.fits.FITS`.

    Returns:
        float32 [crop, crop, 3] in [-1, 1].
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    image = square(decode(image), resize if random_crop else crop, fit)
    if random_crop:
        image = tf.image.stateless_random_crop(image, (crop, crop, 3), crop_seed)
    return tf.image.stateless_random_flip_left_right(image, flip_seed) if flip else image


def pretraining_image(image: tf.Tensor, seed: tf.Tensor, *, crop: int, min_area: float, flip: bool = True) -> tf.Tensor:
    """Augments an image as in BiT's pre-training: an inception crop, squashed to a square, and a flip.

    Only the crop of an encoded, upright JPEG is decoded.

    Source: arXiv 1912.11370, section 3.2; the crop is that of arXiv 1409.4842, section 6.

    Args:
        image: uint8 [H, W, 3] or an encoded image.
        seed: int64 [2]; the result is a pure function of image and seed.
        crop: side in pixels of the result.
        min_area: least fraction of the image's area in a crop, in (0, 1]; the paper uses 0.08.
        flip: True mirrors half of the images.

    Returns:
        float32 [crop, crop, 3] in [-1, 1].
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))

    def window(shape: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros([1, 0, 4]),
            crop_seed,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(min_area, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        return begin, size

    def crop_jpeg() -> tf.Tensor:
        begin, size = window(tf.io.extract_jpeg_shape(image))
        return tf.image.decode_and_crop_jpeg(image, tf.concat([begin[:2], size[:2]], 0), channels=3)

    def crop_pixels() -> tf.Tensor:
        pixels = decode(image)
        begin, size = window(tf.shape(pixels))
        return tf.slice(pixels, begin, size)

    if image.dtype == tf.string:
        is_upright_jpeg = tf.io.is_jpeg(image) & _is_for_tensorflow(image) & (exif_tf.orientation(image) == 1)
        pixels = tf.cond(is_upright_jpeg, crop_jpeg, crop_pixels)
    else:
        pixels = crop_pixels()
    pixels = square(pixels, crop)
    return tf.image.stateless_random_flip_left_right(pixels, flip_seed) if flip else pixels


def test_image(image: tf.Tensor, *, crop: int, fit: str = "squash") -> tf.Tensor:  # noqa: PT028
    """Prepares uint8 [H, W, 3] or an encoded image as `preprocessing_numpy.test_image`."""
    return square(decode(image), crop, fit)


def square(image: tf.Tensor, side: int, fit: str = "squash") -> tf.Tensor:
    """Resizes uint8 [H, W, 3] to float32 [side, side, 3] in [-1, 1] as `preprocessing_numpy.square`."""
    height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
    if fit in CENTRAL:
        part, whole = CENTRAL[fit]
        size = tf.maximum((2 * part * tf.minimum(height, width) + whole) // (2 * whole), 1)
        image = tf.slice(image, [(height - size) // 2, (width - size) // 2, 0], [size, size, 3])
    if fit != "pad":
        return tf.ensure_shape(_resize(image, (side, side)), (side, side, 3))
    rows, columns = _within(height, width, side)
    top, left = (side - rows) // 2, (side - columns) // 2
    image = _resize(image, tf.cast([rows, columns], tf.int32))
    padded = tf.pad(image, [[top, side - rows - top], [left, side - columns - left], [0, 0]])
    return tf.ensure_shape(padded, (side, side, 3))


def corner(image: tf.Tensor, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes an image so that its longer side is `side` pixels, into the top left corner of a square.

    Args:
        image: uint8 [H, W, 3].
        side: of the square in pixels.

    Returns:
        float32 [side, side, 3] in [-1, 1], where the padding is 0;
        int32 [2], rows and columns that hold the image.
    """
    height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
    content = tf.cast(tf.stack(_within(height, width, side)), tf.int32)
    rows, columns = tf.unstack(content)
    padded = tf.pad(_resize(image, content), [[0, side - rows], [0, side - columns], [0, 0]])
    return tf.ensure_shape(padded, (side, side, 3)), content


def _within(height: tf.Tensor, width: tf.Tensor, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the size of an image whose longer side is resized to `side`: rounded to pixels, one at least."""
    longer = tf.maximum(height, width)
    return tuple(tf.maximum((2 * size * side + longer) // (2 * longer), 1) for size in (height, width))


def _resize(image: tf.Tensor, size: tf.Tensor | tuple[int, int]) -> tf.Tensor:
    """Resizes uint8 [H, W, 3] to float32 [*size, 3] in [-1, 1].

    Bilinear without antialiasing, as in the official code that produced the published accuracies. TensorFlow resizes
    float32 faster than uint8, which outweighs the conversion of all pixels unless the image is large.
    """

    def resize(pixels: tf.Tensor) -> tf.Tensor:
        return tf.image.resize(pixels, size)

    def scale_first() -> tf.Tensor:  # converts and scales in one pass
        return resize(tf.raw_ops.Dequantize(input=tf.bitcast(image, tf.quint8), min_range=-1.0, max_range=1.0))

    def scale_last() -> tf.Tensor:
        return (resize(image) - 127.5) / 127.5

    small = tf.reduce_prod(tf.shape(image, tf.int64)[:2]) <= 2 * tf.reduce_prod(tf.cast(size, tf.int64))
    return tf.cond(small, scale_first, scale_last)
