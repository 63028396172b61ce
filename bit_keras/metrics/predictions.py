"""Full evaluation: every example once."""

import dataclasses
from collections.abc import Iterable

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model said of N examples.

    Attributes:
        logits: [N, K] float32.
        labels: [N] int64, the true classes; or boolean [N, K] where several may be true of an image.
        mistake_images: [M, H, W, 3] in [-1, 1], the wrongly classified images of the highest loss, worst first;
            none where several classes may be true.
        mistakes: [M] int64, their numbers among the N examples.
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
        """Most likely classes, [N]."""
        return self.logits.argmax(axis=-1)

    @property
    def accuracy(self) -> float:
        """Share of examples whose most likely class is the true one, or one of them (precision at 1), in [0, 1]."""
        if self.multi_label:
            return float(np.mean(self.labels[np.arange(len(self.labels)), self.classes]))
        return float(np.mean(self.classes == self.labels))

    @property
    def loss(self) -> float:
        """Mean softmax cross-entropy in nats; of several true classes the sigmoid one, summed over the classes."""
        if self.multi_label:
            losses = np.logaddexp(0, self.logits) - self.logits * self.labels
            return float(np.mean(losses.sum(axis=-1, dtype=np.float64)))
        return float(np.mean(_cross_entropy(self.logits, self.labels)))

    def confusion(self) -> np.ndarray:
        """Counts, [K, K]: row is the true class, column the predicted one."""
        counts = np.zeros((self.logits.shape[-1],) * 2, np.int64)
        np.add.at(counts, (self.labels, self.classes), 1)
        return counts


def predict(model: keras.Model, batches: Iterable, num_mistakes: int = 24, multi_label: bool = False) -> Predictions:
    """Runs a classifier over all batches.

    Args:
        model: images to logits [N, K], by its `predict_on_batch`.
        batches: pairs (images [N, H, W, 3] in [-1, 1], one-hot labels [N, K]), for example
            `bit_keras.data.test_batches(...)`; the last batch may be smaller.
        num_mistakes: wrongly classified images to keep, the worst.
        multi_label: True where the labels are multi-hot; no mistakes are kept then.

    Raises:
        ValueError: there is no batch.
    """
    logits, labels, worst = [], [], []
    count = 0
    for images, targets in batches:
        images, targets = np.asarray(images), np.asarray(targets)
        batch_labels = targets > 0 if multi_label else targets.argmax(axis=-1)
        batch_logits = np.asarray(model.predict_on_batch(images), np.float32)
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
        np.array([number for _, number, _ in worst], np.int64),
    )


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=-1)) - shifted[np.arange(len(labels)), labels]
