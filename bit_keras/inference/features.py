"""Pooled features of images, the inputs of linear probes."""

import keras
import numpy as np

from bit_keras import data

_BATCH = 128
_ROUNDING = 5e-5  # more than the error of a pixel that was scaled to [-1, 1] and back in float32


def features_of(
    backbone: keras.Model, source: data.Source, *, crop: int, resize: int | None = None, **reading
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of every test example of a task once, not augmented.

    Args:
        backbone: maps images [N, H, W, 3] in [-1, 1] to pooled features [N, D].
        source: the task.
        crop: side in pixels of the images that the backbone gets.
        resize: None to resize images to `crop`; else they are resized to this side, pixels are rounded down to
            integers, and the central square of the side `crop` is taken, as in google-research/big_vision.
        **reading: passed on to `bit_keras.data.test_batches`.

    Returns:
        Features, float32 [N, D], and labels, integers [N].
    """
    features, labels = [], []
    for images, targets in data.test_batches(source, batch_size=_BATCH, crop=resize or crop, **reading):
        images = np.asarray(images)
        if resize is not None:
            images = _central_square(images, crop)
        features.append(np.asarray(backbone.predict_on_batch(images), np.float32))
        labels.append(np.asarray(targets).argmax(axis=-1))
    return np.concatenate(features), np.concatenate(labels)


def _central_square(images: np.ndarray, side: int) -> np.ndarray:
    """Returns the central squares of images [N, H, W, 3] in [-1, 1], with pixels rounded down to integers."""
    first = (images.shape[1] - side) // 2
    square = images[:, first : first + side, first : first + side]
    return np.floor(square * 127.5 + (127.5 + _ROUNDING)).astype(np.float32) / np.float32(127.5) - 1
