"""Predictions of a model for every example of a data set, each exactly once."""

import dataclasses
from collections.abc import Iterable

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions of a model for N examples.

    Attributes:
        logits: [N, K] float32.
        labels: [N] int64, the true classes; boolean [N, K] in multi-label data.
        mistake_images: [M, H, W, 3] in [-1, 1], the misclassified images with the highest losses, in descending
            order; empty for multi-label data.
        mistakes: [M] int64, their indices among the N examples.
    """

    logits: np.ndarray
    labels: np.ndarray
    mistake_images: np.ndarray
    mistakes: np.ndarray

    @property
    def multi_label(self) -> bool:
        return self.labels.ndim == 2

    @property
    def classes(self) -> np.ndarray:
        """Predicted classes, [N]."""
        return self.logits.argmax(axis=-1)

    @property
    def accuracy(self) -> float:
        """Fraction of examples whose predicted class is a true one, in [0, 1]; precision at 1 in multi-label data."""
        if self.multi_label:
            return float(np.mean(self.labels[np.arange(len(self.labels)), self.classes]))
        return float(np.mean(self.classes == self.labels))

    @property
    def loss(self) -> float:
        """Mean softmax cross-entropy in nats; for multi-label data sigmoid cross-entropy, summed over the classes."""
        if self.multi_label:
            losses = np.logaddexp(0, self.logits) - self.logits * self.labels
            return float(np.mean(losses.sum(axis=-1, dtype=np.float64)))
        return float(np.mean(_cross_entropy(self.logits, self.labels)))

    def confusion(self) -> np.ndarray:
        """Confusion matrix of counts, [K, K]: rows are true classes, columns are predicted ones."""
        counts = np.zeros((self.logits.shape[-1],) * 2, np.int64)
        np.add.at(counts, (self.labels, self.classes), 1)
        return counts


def predict(model: keras.Model, batches: Iterable, num_mistakes: int = 24, multi_label: bool = False) -> Predictions:
    """Returns the predictions of a classifier for all batches.

    Args:
        model: its `predict_on_batch` maps images to logits [N, K].
        batches: pairs (images [N, H, W, 3] in [-1, 1], one-hot labels [N, K]), for example
            `bit_keras.data.test_batches(...)`; the last batch may be smaller.
        num_mistakes: number of misclassified images to keep, those with the highest losses.
        multi_label: True if the labels are multi-hot; no misclassified images are kept then.

    Raises:
        ValueError: `batches` is empty.
    """
    logits, labels, worst = [], [], []
    count = size = 0
    for images, targets in batches:
        images, targets = np.asarray(images), np.asarray(targets)
        batch_labels = targets > 0 if multi_label else targets.argmax(axis=-1)
        size = max(size, len(images))
        batch_logits = logits_of(model, images, size)
        if not multi_label:
            losses = _cross_entropy(batch_logits, batch_labels)
            wrong = np.flatnonzero(batch_logits.argmax(axis=-1) != batch_labels)
            worst += [(losses[i], count + i, images[i]) for i in wrong]
            worst = sorted(worst, key=lambda mistake: -mistake[0])[:num_mistakes]
        logits.append(batch_logits)
        labels.append(batch_labels)
        count += len(images)
    if not count:
        raise ValueError("evaluation needs at least one batch of examples, got none")
    return Predictions(
        np.concatenate(logits),
        np.concatenate(labels),
        np.array([image for _, _, image in worst]),
        np.array([index for _, index, _ in worst], np.int64),
    )


def logits_of(model: keras.Model, images: np.ndarray, size: int) -> np.ndarray:
    """Returns the logits of a batch, float32 [N, K], which is padded to `size` images.

    The model would be traced or compiled again for another size, so a smaller batch repeats its images.
    """
    padded = images if len(images) == size else np.resize(images, (size, *images.shape[1:]))
    return np.asarray(model.predict_on_batch(padded), np.float32)[: len(images)]


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=-1)) - shifted[np.arange(len(labels)), labels]
