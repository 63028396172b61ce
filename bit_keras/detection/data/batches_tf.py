"""Batches of images with boxes as a tf.data.Dataset, which tf.distribute divides over its devices."""

from collections.abc import Iterable

from bit_keras.data.tensorflow_for_data import tf


def dataset(batches: Iterable, size: int, max_boxes: int) -> tf.data.Dataset:
    """Returns the batches of `batches.train_batches` as an endless tf.data.Dataset.

    Args:
        batches: as made with `size` and `max_boxes`.
        size: side of the images in pixels.
        max_boxes: boxes per image, with padding.
    """
    targets = {
        "boxes": tf.TensorSpec([None, max_boxes, 4], tf.float32),
        "labels": tf.TensorSpec([None, max_boxes], tf.int32),
    }
    images = tf.TensorSpec([None, size, size, 3], tf.float32)
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=(images, targets)).prefetch(1)
