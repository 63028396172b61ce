"""Streams of examples as tf.data datasets."""

from collections.abc import Callable

from bit_keras.data.examples import Examples
from bit_keras.data.source import Split
from bit_keras.data.tensorflow_for_data import tf


def in_order(split: Split) -> tf.data.Dataset:
    """Returns every example of a split once, always in the same order.

    Args:
        split: for example `source.test`.

    Returns:
        Dataset of (image, label): uint8 [H, W, 3] or an encoded image as a scalar string; int64, or int64 [L] padded
        with -1 in multi-label data.
    """
    if hasattr(split, "in_order"):
        return split.in_order()
    return _read(split, tf.data.Dataset.range(len(split)))


def shuffled(split: Split, seed: int, start: int = 0, shard: tuple[int, int] = (0, 1)) -> tf.data.Dataset:
    """Returns endless passes over the examples of a split, each in a different order.

    Args:
        split: for example `source.train`.
        seed: of the orders; the stream is a pure function of it.
        start: position of the first example: `shuffled(split, s, a)` equals `shuffled(split, s).skip(a)`.
        shard: (index, count): of each `count` consecutive examples from `start` on, only number `index` is read.

    Returns:
        Dataset as in `in_order`.
    """
    if hasattr(split, "shuffled"):
        return split.shuffled(seed, start, shard)
    return _read(split, shuffled_indices(len(split), seed, start, shard))


def shuffled_indices(length: int, seed: int, start: int, shard: tuple[int, int]) -> tf.data.Dataset:
    """Returns the indices of endless passes over `length` examples, a new permutation in each; see `passes`."""

    # Like all functions of tensors here, it has no `if` or loop for AutoGraph, whose conversion takes seconds.
    @tf.autograph.experimental.do_not_convert
    def indices(number: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), number])
        order = tf.random.experimental.stateless_shuffle(tf.range(length, dtype=tf.int64), key, alg="philox")
        return tf.data.Dataset.from_tensor_slices(order)

    return passes(indices, length, start, shard)


def passes(one_pass, length: int, start: int, shard: tuple[int, int]) -> tf.data.Dataset:
    """Returns endless passes over a split.

    Args:
        one_pass: function from the index of a pass, an int64 scalar, to its dataset.
        length: number of elements in a pass. Complete passes before `start` are skipped without reading them.
        start: position of the first element.
        shard: (index, count): of each `count` consecutive elements from `start` on, only number `index` is kept.
    """
    index, count = shard
    return count_from(start // length).flat_map(one_pass).skip(start % length).shard(count, index)


def count_from(start: int, step: int = 1) -> tf.data.Dataset:
    """Returns start, start + step, ... as int64 scalars.

    `Dataset.counter` does the same with a function that TensorFlow adds to the default graph, and so never frees.
    """
    return tf.data.Dataset.range(start, tf.int64.max, step)


def _read(split: Split, indices: tf.data.Dataset) -> tf.data.Dataset:
    read = _reader(split) if isinstance(split, Examples) else _encoded_reader(split)
    return indices.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def _encoded_reader(split: Split) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """As `_reader`, for a split whose images and labels Python reads."""

    @tf.autograph.experimental.do_not_convert
    def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(split.encoded, [index], (tf.string, tf.int64), stateful=False)
        return tf.ensure_shape(image, ()), tf.ensure_shape(label, ())

    return read


def _reader(examples: Examples) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns the function from an index to the image, encoded or decoded, and its label."""
    with tf.device("CPU"):  # leaves the accelerator's memory to the model
        images, labels = tf.constant(examples.images), tf.constant(examples.labels)

    @tf.autograph.experimental.do_not_convert
    def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.gather(images, index)
        if examples.reader is not None:
            pixels = tf.numpy_function(lambda name: examples.reader(name.decode()), [image], tf.uint8, stateful=False)
            image = tf.ensure_shape(pixels, (None, None, 3))
        elif examples.in_files:
            image = tf.io.read_file(image)
        return image, tf.gather(labels, index)

    return read
