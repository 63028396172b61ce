"""Preprocessing and augmentation of a single image in TensorFlow."""

import tensorflow as tf


def decode(image: tf.Tensor) -> tf.Tensor:
    """Decodes an image, a scalar string, to uint8 [H, W, 3]; an image that is already decoded is returned unchanged.

    Grey values are repeated, palettes looked up and CMYK converted; 16-bit values are reduced to their upper 8 bits,
    and alpha is dropped. The EXIF orientation is not applied; see `upright`.
    """
    if image.dtype != tf.string:
        return image
    return tf.io.decode_image(image, channels=3, expand_animations=False)


def measure(encoded: bytes) -> tuple[int, int, int]:
    """Decodes an image and returns its size.

    Returns:
        Number of frames (1 unless GIF or WebP), height and width in pixels.

    Raises:
        ValueError: it cannot be decoded.
    """
    try:
        # With `channels`: without it TensorFlow 2.21 overruns its buffer for an animated WebP.
        *frames, height, width, _ = tf.io.decode_image(encoded, channels=3).shape
    except tf.errors.OpError as error:
        raise ValueError(f"cannot be decoded: {error.message}") from error
    return *(frames or [1]), height, width


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
    image: tf.Tensor, seed: tf.Tensor, *, resize: int, crop: int, random_crop: bool = True, flip: bool = True
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

    Returns:
        float32 [crop, crop, 3] in [-1, 1].
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    image = _resize(decode(image), resize if random_crop else crop)
    if random_crop:
        image = tf.image.stateless_random_crop(image, (crop, crop, 3), crop_seed)
    return tf.image.stateless_random_flip_left_right(image, flip_seed) if flip else image


def pretraining_image(image: tf.Tensor, seed: tf.Tensor, *, crop: int, min_area: float, flip: bool = True) -> tf.Tensor:
    """Augments an image as in BiT's pre-training: an inception crop and a flip.

    Only the crop of an encoded JPEG is decoded.

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

    pixels = tf.cond(tf.io.is_jpeg(image), crop_jpeg, crop_pixels) if image.dtype == tf.string else crop_pixels()
    pixels = _resize(pixels, crop)
    return tf.image.stateless_random_flip_left_right(pixels, flip_seed) if flip else pixels


def test_image(image: tf.Tensor, *, crop: int) -> tf.Tensor:
    """Resizes uint8 [H, W, 3] or an encoded image to float32 [crop, crop, 3] in [-1, 1]."""
    return _resize(decode(image), crop)


def _resize(image: tf.Tensor, side: int) -> tf.Tensor:
    """Resizes uint8 [H, W, 3] to float32 [side, side, 3] in [-1, 1].

    Bilinear without antialiasing, as in the official code that produced the published accuracies. TensorFlow resizes
    float32 faster than uint8, which outweighs the conversion of all pixels unless the image is large.
    """

    def resize(pixels: tf.Tensor) -> tf.Tensor:
        return tf.image.resize(pixels, (side, side))

    def scale_first() -> tf.Tensor:  # converts and scales in one pass
        return resize(tf.raw_ops.Dequantize(input=tf.bitcast(image, tf.quint8), min_range=-1.0, max_range=1.0))

    def scale_last() -> tf.Tensor:
        return (resize(image) - 127.5) / 127.5

    small = tf.reduce_prod(tf.shape(image, tf.int64)[:2]) <= 2 * side**2
    return tf.ensure_shape(tf.cond(small, scale_first, scale_last), (side, side, 3))
