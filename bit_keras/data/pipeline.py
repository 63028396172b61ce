"""Batches for training and for evaluation."""

import tensorflow as tf

from bit_keras.data import preprocessing
from bit_keras.data.source import Source


def train_batches(
    source: Source,
    *,
    batch_size: int,
    resize: int,
    crop: int,
    seed: int,
    start_step: int = 0,
    random_crop: bool = True,
    flip: bool = True,
) -> tf.data.Dataset:
    """Makes the endless training batches of a task; batch k is a pure function of `seed` and k.

    Args:
        source: the task.
        batch_size: images per batch, 1 or more.
        resize: side in pixels to which an image is resized before the random crop, not less than `crop`.
        crop: side in pixels of the images in the batch, 1 or more.
        seed: of order and augmentation.
        start_step: number k of the first batch. The result equals that from 0 with `skip(start_step)`, bit by bit.
        random_crop: False resizes straight to `crop`.
        flip: True mirrors half of the images.

    Returns:
        A dataset of (images, labels): float32 [batch_size, crop, crop, 3] in [-1, 1]; one-hot float32
        [batch_size, classes]. A label out of range raises tf.errors.InvalidArgumentError.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check_positive(batch_size=batch_size, crop=crop)
    if random_crop and resize < crop:
        raise ValueError(f"resize must not be less than crop, got {resize} and {crop}")
    if start_step < 0:
        raise ValueError(f"start_step must be 0 or more, got {start_step}")

    def prepare(position, example):
        image, label = example
        key = tf.stack([tf.constant(seed, tf.int64), position])
        image = preprocessing.train_image(image, key, resize=resize, crop=crop, random_crop=random_crop, flip=flip)
        return image, _one_hot(label, source)

    start = start_step * batch_size
    positions = tf.data.Dataset.counter(start)
    examples = tf.data.Dataset.zip(positions, source.train_examples(seed, start))
    return _batch(examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE), batch_size, drop_remainder=True)


def test_batches(source: Source, *, batch_size: int, crop: int) -> tf.data.Dataset:
    """Makes batches that hold every test example of a task exactly once, always in the same order.

    Args:
        source: the task.
        batch_size: images per batch, 1 or more. The last batch may be smaller.
        crop: side in pixels to which the images are resized, 1 or more.

    Returns:
        A finite dataset of (images, labels) as `train_batches` has them.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check_positive(batch_size=batch_size, crop=crop)

    def prepare(image, label):
        return preprocessing.test_image(image, crop=crop), _one_hot(label, source)

    return _batch(source.test_examples().map(prepare, num_parallel_calls=tf.data.AUTOTUNE), batch_size)


def _batch(examples: tf.data.Dataset, batch_size: int, drop_remainder: bool = False) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # One batch ahead: 512 images of 480 pixels are 1.4 GB.
    return examples.batch(batch_size, drop_remainder=drop_remainder).prefetch(1).with_options(options)


def _one_hot(label: tf.Tensor, source: Source) -> tf.Tensor:
    # tf.one_hot answers a label out of range with zeros, which would train in silence.
    message = f"{source.name}: labels must lie in [0, {source.num_classes}), got"
    tf.debugging.Assert((label >= 0) & (label < source.num_classes), [message, label])
    return tf.one_hot(label, source.num_classes)


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
