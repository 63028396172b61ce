"""Classification metrics, computed from logits."""

from collections.abc import Sequence

import numpy as np

# Equally wide bins of the calibration error, as in arXiv 1706.04599.
NUM_BINS = 15


@np.errstate(invalid="ignore")  # logits that are not finite give NaN
def top_classes(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k most likely classes and their softmax probabilities, both [N, k], in descending order.

    Args:
        logits: [N, K]. Among equal logits the lower class index comes first, as in argmax.
        k: 1 to K.
    """
    # Row by row: sorting all logits at once would take twice their memory.
    classes = np.stack([_largest(row, k) for row in logits])
    scores = np.take_along_axis(logits, classes, axis=1).astype(np.float64)
    return classes, np.exp(scores - _log_normalizer(logits)[:, None])


def is_true(targets: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns whether classes [N, k] are true ones of their examples, bool [N, k].

    Args:
        targets: one-hot or multi-hot labels, [N, K] or of the first classes only.
        classes: integers in [0, K).
    """
    known = classes < targets.shape[-1]
    return known & (np.take_along_axis(targets, np.where(known, classes, 0), axis=-1) > 0)


def expected_calibration_error(confidences: np.ndarray, is_right: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Returns the expected calibration error, in [0, 1]; 0 means that confidence equals accuracy.

    Examples are sorted by confidence into the bins (0, 1/M], (1/M, 2/M], ..., ((M-1)/M, 1]. The result is the sum over
    the bins of |accuracy - mean confidence|, each weighted by the bin's fraction of the examples.

    Source: arXiv 1706.04599, section 2, equation 3.

    Args:
        confidences: [N], the probability of the predicted class, in (0, 1].
        is_right: [N], True where the predicted class is the true one.
        num_bins: M.
    """
    edges = np.arange(1, num_bins) / num_bins
    bins = np.digitize(confidences, edges, right=True)  # an edge belongs to the bin below it
    gaps = np.bincount(bins, weights=is_right - confidences, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(confidences))


def per_class(labels: np.ndarray, classes: np.ndarray, class_names: Sequence[str]) -> list[dict]:
    """Returns one row per class: "class", "examples", "recall" and "precision".

    Recall is the fraction of the class's examples that are predicted as this class (its accuracy), None for a class
    without examples. Precision is the fraction of the predictions of the class that are correct, None for a class
    that is never predicted.

    Args:
        labels: true classes, [N].
        classes: predicted classes, [N].
        class_names: names of the K classes.
    """
    correct = labels[labels == classes]
    counts = [np.bincount(chosen, minlength=len(class_names)).tolist() for chosen in (labels, classes, correct)]
    return [
        {"class": name, "examples": n, "recall": r / n if n else None, "precision": r / s if s else None}
        for name, n, s, r in zip(class_names, *counts)
    ]


def mean_per_class_accuracy(rows: Sequence[dict]) -> float:
    """Returns the mean recall of the rows of `per_class`, in [0, 1]; classes without examples are left out."""
    return float(np.mean([row["recall"] for row in rows if row["recall"] is not None]))


def _log_normalizer(logits: np.ndarray) -> np.ndarray:
    """Returns log(sum(exp(logits))) over the classes, float64 [N]."""
    return np.logaddexp.reduce(logits, axis=1, dtype=np.float64)


def _largest(row: np.ndarray, k: int) -> np.ndarray:
    """Returns the indices of the k largest values, in descending order; of equal values the lower index comes first."""
    threshold = np.partition(row, -k)[-k]  # sorts no more of thousands of classes than necessary
    candidates = np.flatnonzero(~(row < threshold))  # all of them if there are NaN
    return candidates[np.argsort(-row[candidates], kind="stable")[:k]]
