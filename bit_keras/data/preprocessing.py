"""One image on its way into the model."""

import tensorflow as tf


def decode(image: tf.Tensor) -> tf.Tensor:
    """Returns uint8 [H, W, 3] of an encoded image, a scalar string, or of an image that is decoded already.

    Grey values are repeated, palettes looked up, CMYK converted; of 16 bits the upper 8 are kept, and alpha is dropped.
    Nothing is rotated, whatever EXIF data say; see `upright`.
    """
    if image.dtype != tf.string:
        return image
    return tf.io.decode_image(image, channels=3, expand_animations=False)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns an image as its EXIF orientation asks for.

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
    """Augments an image as the BiT-HyperRule does.

    Source: official `input_pipeline_tf2_or_jax.py`, but for the flip, which mirrors every image there.

    Args:
        image: uint8 [H, W, 3] or an encoded image.
        seed: int64 [2]; the result is a pure function of image and seed.
        resize: side in pixels before the crop.
        crop: side in pixels of the result.
        random_crop: False resizes straight to `crop`.
        flip: True mirrors half of the images.

    Returns:
        float32 [crop, crop, 3] in [-1, 1].
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    image = _resize(image, resize if random_crop else crop)
    if random_crop:
        image = tf.image.stateless_random_crop(image, (crop, crop, 3), crop_seed)
    if flip:
        image = tf.image.stateless_random_flip_left_right(image, flip_seed)
    return _scale(image)


def test_image(image: tf.Tensor, *, crop: int) -> tf.Tensor:
    """Returns float32 [crop, crop, 3] in [-1, 1] of uint8 [H, W, 3] or of an encoded image."""
    return _scale(_resize(image, crop))


def _resize(image: tf.Tensor, side: int) -> tf.Tensor:
    # Bilinear without antialiasing, as in the official code, from which the published numbers come.
    return tf.ensure_shape(tf.image.resize(decode(image), (side, side)), (side, side, 3))


def _scale(image: tf.Tensor) -> tf.Tensor:
    return (image - 127.5) / 127.5
