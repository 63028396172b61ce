"""Batches from tf.data. `batches` checks and documents the arguments."""

import numpy as np

from bit_keras.data.examples import Examples
from bit_keras.data.loaders import preprocessing, streams
from bit_keras.data.loaders.decoded import keeping_decoder
from bit_keras.data.source import Source
from bit_keras.data.tensorflow_for_data import tf


def train_batches(
    source: Source,
    *,
    batch_size: int,
    resize: int,
    crop: int,
    seed: int,
    start_step: int,
    shard: tuple[int, int],
    random_crop: bool,
    flip: bool,
    min_area: float | None,
    fit: str,
    keep: bool,
) -> tf.data.Dataset:
    """See `bit_keras.data.train_batches`."""
    decode = keeping_decoder() if keep and min_area is None else preprocessing.decode

    @tf.autograph.experimental.do_not_convert
    def prepare(position, example):
        image, label = example
        key = tf.stack([tf.constant(seed, tf.int64), position])
        if min_area is not None:
            image = preprocessing.pretraining_image(image, key, crop=crop, min_area=min_area, flip=flip)
            return image, _one_hot(label, source)
        image = decode(image)
        image = preprocessing.train_image(
            image, key, resize=resize, crop=crop, random_crop=random_crop, flip=flip, fit=fit
        )
        return image, _one_hot(label, source)

    index, count = shard
    start = start_step * batch_size
    positions = streams.count_from(start + index, count)
    examples = tf.data.Dataset.zip(positions, streams.shuffled(source.train, seed, start, shard))
    return _batch(examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE), batch_size // count, drop_remainder=True)


def train_indices(examples: Examples, seed: int, start: int, count: int) -> list[int]:
    """Returns the indices of `count` training examples from position `start` on."""
    numbers = np.arange(len(examples))
    numbered = Examples(images=np.zeros((len(examples), 1, 1, 3), np.uint8), labels=numbers)
    return [int(number) for _, number in streams.shuffled(numbered, seed, start).take(count).as_numpy_iterator()]


def test_batches(source: Source, *, batch_size: int, crop: int, fit: str, keep: bool) -> tf.data.Dataset:
    """See `bit_keras.data.test_batches`."""
    decode = keeping_decoder() if keep else preprocessing.decode

    @tf.autograph.experimental.do_not_convert
    def prepare(image, label):
        return preprocessing.test_image(decode(image), crop=crop, fit=fit), _one_hot(label, source)

    examples = streams.in_order(source.test)
    return _batch(examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE), batch_size)


def _batch(examples: tf.data.Dataset, batch_size: int, drop_remainder: bool = False) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Prefetches one batch only: 512 images of 480 pixels are 1.4 GB.
    return examples.batch(batch_size, drop_remainder=drop_remainder).prefetch(1).with_options(options)


def _one_hot(label: tf.Tensor, source: Source) -> tf.Tensor:
    if source.multi_label:  # padded with -1
        message = f"{source.name}: labels must be -1 or lie in [0, {source.num_classes}), got"
        tf.debugging.Assert(tf.reduce_all((label >= -1) & (label < source.num_classes)), [message, label])
        return tf.reduce_max(tf.one_hot(label, source.num_classes), axis=0)
    # tf.one_hot returns zeros for a label out of range, without an error.
    message = f"{source.name}: labels must lie in [0, {source.num_classes}), got"
    tf.debugging.Assert((label >= 0) & (label < source.num_classes), [message, label])
    return tf.one_hot(label, source.num_classes)
