import numpy as np
import tensorflow as tf

from bit_keras.data.examples import Examples
from bit_keras.data.loaders import streams
from bit_keras.data.loaders.streams import passes


def _examples(n):
    return Examples(np.zeros((n, 1, 1, 3), np.uint8), np.arange(n))


def test_orders_of_passes_are_uniform():
    """Each of the 24 orders of 4 examples is as frequent as the others."""
    passes_of_4 = streams.shuffled(_examples(4), seed=3, start=0).batch(4).take(2_400).as_numpy_iterator()
    _, counts = np.unique([labels for _, labels in passes_of_4], axis=0, return_counts=True)
    assert len(counts) == 24
    # Chi-squared with 23 degrees of freedom: exceeds 50 for one seed in a thousand.
    assert np.sum((counts - 100) ** 2 / 100) < 50


def test_start_makes_no_earlier_pass():
    made = []

    def one_pass(number):
        return tf.data.Dataset.from_tensors(tf.numpy_function(lambda n: made.append(int(n)) or n, [number], np.int64))

    assert next(iter(passes(one_pass, length=1, start=10**12, shard=(0, 1)))) == 10**12
    assert min(made) == 10**12


def test_take_keeps_images_and_labels_together():
    images = np.arange(15, dtype=np.uint8).reshape(5, 1, 1, 3)
    taken = Examples(images, np.arange(5)).take(np.array([1, 4]))
    for image, label in streams.in_order(taken).as_numpy_iterator():
        np.testing.assert_array_equal(image, images[label])
    assert len(taken) == 2
