"""Predictions of a model for every example of a data set, each exactly once."""

import dataclasses
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from bit_keras.metrics.classification import is_true, top_classes

# Most likely classes that are kept of each example.
TOP = 5


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions of a model for N examples: a few numbers for each, and not the logits of all.

    For the 21,843 classes of ImageNet-21k, the logits of 50,000 images would need 4.4 GB.

    Attributes:
        labels: [N] int64, the true classes; None in multi-label data.
        top_classes: [N, k] int64, the most likely classes in descending order; k is 5, or K if that is less.
        top_probabilities: [N, k] float64, their softmax probabilities.
        losses: [N] softmax cross-entropy in nats; for multi-label data sigmoid cross-entropy, summed over the classes.
        is_right: [N] bool, whether the most likely class is a true one.
        is_in_top: [N] bool, whether one of `top_classes` is a true one.
        is_finite: [N] bool, False where a logit is NaN or infinite.
        num_classes: K.
        mistake_images: [M, H, W, 3] in [-1, 1], the misclassified images with the highest losses, in descending
            order; empty for multi-label data.
        mistakes: [M] int64, their indices among the N examples.
        among: predictions of the same examples where only some of the classes compete; None unless they were asked for.

    Example:
        >>> from bit_keras.metrics import Predictions
        >>> logits = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [1.0, 2.0, 0.0]], "float32")
        >>> predictions = Predictions.of(logits, np.eye(3)[[0, 1, 2]])
        >>> predictions.classes, predictions.accuracy
        (array([0, 1, 1]), 0.666...)
        >>> predictions.confused_pairs()  # one 2 was taken for a 1
        [(2, 1, 1)]
    """

    labels: np.ndarray | None
    top_classes: np.ndarray
    top_probabilities: np.ndarray
    losses: np.ndarray
    is_right: np.ndarray
    is_in_top: np.ndarray
    is_finite: np.ndarray
    num_classes: int
    mistake_images: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    mistakes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    among: "Predictions | None" = None

    @classmethod
    def of(
        cls, logits: np.ndarray, targets: np.ndarray, multi_label: bool = False, competing: Sequence[int] = ()
    ) -> "Predictions":
        """Returns the predictions with these logits, without images.

        Args:
            logits: [N, K] float32.
            targets: one-hot labels, [N, K] or of the first classes only; multi-hot if `multi_label`.
            competing: classes of `among`; () for none.
        """
        best, probabilities = top_classes(logits, min(TOP, logits.shape[-1]))
        are_true = is_true(targets, best)
        if multi_label:
            labels, losses = None, _sigmoid_cross_entropy(logits, targets > 0)
            is_right = are_true[:, 0]
        else:
            labels = targets.argmax(axis=-1)
            losses, is_right = _softmax_cross_entropy(logits, labels), best[:, 0] == labels
        is_in_top = are_true.any(axis=-1)
        is_finite = np.isfinite(logits).all(axis=-1)
        among = cls.of(logits[:, competing], targets[:, competing], multi_label) if len(competing) else None
        columns = (labels, best, probabilities, losses, is_right, is_in_top, is_finite)
        return cls(*columns, num_classes=logits.shape[-1], among=among)

    @property
    def multi_label(self) -> bool:
        return self.labels is None

    @property
    def classes(self) -> np.ndarray:
        """Predicted classes, [N]."""
        return self.top_classes[:, 0]

    @property
    def accuracy(self) -> float:
        """Fraction of examples whose predicted class is a true one, in [0, 1]; precision at 1 in multi-label data."""
        return float(np.mean(self.is_right))

    @property
    def top_accuracy(self) -> float | None:
        """Fraction of examples with a true class among the five most likely ones; None for fewer than five classes."""
        return float(np.mean(self.is_in_top)) if self.num_classes >= TOP else None

    @property
    def loss(self) -> float:
        """Mean of the losses."""
        return float(np.mean(self.losses))

    def confusion(self) -> np.ndarray:
        """Confusion matrix of counts, [K, K]: rows are true classes, columns are predicted ones."""
        counts = np.zeros((self.num_classes,) * 2, np.int64)
        np.add.at(counts, (self.labels, self.classes), 1)
        return counts

    def confused_pairs(self) -> list[tuple[int, int, int]]:
        """Returns (true class, predicted class, number of examples) of all errors, the most frequent pairs first."""
        wrong = ~self.is_right
        pairs, counts = np.unique(np.stack([self.labels[wrong], self.classes[wrong]]), axis=1, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(int(pairs[0, k]), int(pairs[1, k]), int(counts[k])) for k in order]


def predict(
    model: keras.Model,
    batches: Iterable,
    num_mistakes: int = 24,
    multi_label: bool = False,
    competing: Sequence[int] = (),
) -> Predictions:
    """Returns the predictions of a classifier for all batches.

    Args:
        model: its `predict_on_batch` maps images to logits [N, K].
        batches: pairs (images [N, H, W, 3] in [-1, 1], one-hot labels [N, K]), for example
            `bit_keras.data.test_batches(...)`; the last batch may be smaller.
        num_mistakes: number of misclassified images to keep, those with the highest losses.
        multi_label: True if the labels are multi-hot; no misclassified images are kept then, and examples without any
            label are left out.
        competing: as in `Predictions.of`.

    Raises:
        ValueError: `batches` is empty, or no example has a label.

    Example:
        >>> from bit_keras.metrics import predict
        >>> head = keras.layers.Dense(10, kernel_initializer="zeros")
        >>> model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), head])
        >>> test = bit_keras.data.test_batches(bit_keras.data.load("digits"), batch_size=60, crop=16)
        >>> predictions = predict(model, test)
        >>> len(predictions.labels), round(predictions.loss, 4)  # of a head of zeros: log(10)
        (360, 2.3026)
    """
    parts, worst = [], []
    count = size = 0
    for images, targets in batches:
        images, targets = np.asarray(images), np.asarray(targets)
        size = max(size, len(images))
        if multi_label:
            labelled = targets.any(axis=-1)
            images, targets = images[labelled], targets[labelled]
            if not len(images):
                continue
        part = Predictions.of(logits_of(model, images, size), targets, multi_label, competing)
        if not multi_label:
            wrong = [(part.losses[i], count + i, images[i]) for i in np.flatnonzero(~part.is_right)]
            worst = sorted(worst + wrong, key=lambda mistake: -mistake[0])[:num_mistakes]
            # Copies: a part of a batch would keep the whole batch in memory.
            worst = [(loss, index, image.copy() if index >= count else image) for loss, index, image in worst]
        parts.append(part)
        count += len(images)
    if not count:
        raise ValueError("evaluation needs at least one batch of examples, got none")
    images = np.array([image for _, _, image in worst])
    indices = np.array([index for _, index, _ in worst], np.int64)
    return _joined(parts, mistake_images=images, mistakes=indices)


def _joined(parts: Sequence[Predictions], **mistakes: np.ndarray) -> Predictions:
    columns = ("top_classes", "top_probabilities", "losses", "is_right", "is_in_top", "is_finite")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    labels = None if parts[0].multi_label else np.concatenate([part.labels for part in parts])
    among = None if parts[0].among is None else _joined([part.among for part in parts])
    return Predictions(labels, **joined, num_classes=parts[0].num_classes, among=among, **mistakes)


def logits_of(model: keras.Model, images: np.ndarray, size: int) -> np.ndarray:
    """Returns the logits of a batch, float32 [N, K]; see `outputs_of`."""
    return outputs_of(model, images, size)


def outputs_of(model: keras.Model, images: np.ndarray, size: int) -> np.ndarray | list[np.ndarray]:
    """Returns the output of a model for a batch, float32 [N, ...], or its outputs, where the batch is padded to `size`.

    The model would be traced or compiled again for another size, so a smaller batch repeats its images.
    """
    padded = images if len(images) == size else np.resize(images, (size, *images.shape[1:]))
    outputs = model.predict_on_batch(padded)
    if isinstance(outputs, list | tuple):
        return [np.asarray(output, np.float32)[: len(images)] for output in outputs]
    return np.asarray(outputs, np.float32)[: len(images)]


@np.errstate(invalid="ignore")  # logits that are not finite give NaN
def _softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=-1)) - shifted[np.arange(len(labels)), labels]


def _sigmoid_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return (np.logaddexp(0, logits) - logits * targets).sum(axis=-1, dtype=np.float64)
