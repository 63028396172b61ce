"""Examples as streams of tf.data."""

import tensorflow as tf

from bit_keras.data import preprocessing
from bit_keras.data.examples import Examples


def in_order(examples: Examples) -> tf.data.Dataset:
    """Returns every example once; see `bit_keras.data.source.Split`."""
    return _read(examples, tf.data.Dataset.range(len(examples)))


def shuffled(examples: Examples, seed: int, start: int, shard: tuple[int, int]) -> tf.data.Dataset:
    """Returns endless passes; see `bit_keras.data.source.Split`."""
    return _read(examples, shuffled_indices(len(examples), seed, start, shard))


def shuffled_indices(length: int, seed: int, start: int, shard: tuple[int, int]) -> tf.data.Dataset:
    """Returns the indices of endless passes over `length` examples, another permutation in each; see `passes`."""

    def indices(number: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), number])
        order = tf.random.experimental.stateless_shuffle(tf.range(length, dtype=tf.int64), key, alg="philox")
        return tf.data.Dataset.from_tensor_slices(order)

    return passes(indices, length, start, shard)


def passes(one_pass, length: int, start: int, shard: tuple[int, int]) -> tf.data.Dataset:
    """Returns endless passes over a split.

    Args:
        one_pass: function from the number of a pass, an int64 scalar, to its dataset.
        length: of a pass. Whole passes before `start` are not made at all.
        start: position of the first element.
        shard: (index, count): of the elements from `start` on those whose number modulo count is index.
    """
    numbers = tf.data.Dataset.counter(start // length)
    index, count = shard
    return numbers.flat_map(one_pass).skip(start % length).shard(count, index)


def _read(examples: Examples, indices: tf.data.Dataset) -> tf.data.Dataset:
    with tf.device("CPU"):  # an accelerator's memory is for the model
        images, labels = tf.constant(examples.images), tf.constant(examples.labels)
        orientations = None if examples.orientations is None else tf.constant(examples.orientations)

    def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.gather(images, index)
        if examples.in_files:
            image = tf.io.read_file(image)
        if orientations is not None:
            decode = examples.decode or preprocessing.decode
            image = preprocessing.upright(decode(image), tf.gather(orientations, index))
        return image, tf.gather(labels, index)

    return indices.map(read, num_parallel_calls=tf.data.AUTOTUNE)
