"""Few-shot learning: draws a few training examples per class."""

from collections.abc import Sequence

import numpy as np

from bit_keras.data.errors import DataError, check_labels, shortened
from bit_keras.system.texts import counted


def draw(labels: np.ndarray, class_names: Sequence[str], examples_per_class: int, seed: int) -> np.ndarray:
    """Draws the same number of examples per class, without replacement.

    Args:
        labels: integers [N].
        class_names: one name per class.
        examples_per_class: number of examples per class, 1 or more.
        seed: in [0, 2**32). With the same seed a larger draw contains the smaller ones.

    Returns:
        Indices into `labels`: int64 [classes * examples_per_class], ascending.

    Raises:
        DataError: a label is out of its range, or a class has too few examples.
        ValueError: an argument is out of its range.
    """
    if examples_per_class < 1:
        raise ValueError(f"examples_per_class must be 1 or more, got {examples_per_class}")
    check_labels("training labels", labels, len(class_names))
    counts = np.bincount(labels, minlength=len(class_names))
    short = [f"{class_names[c]!r} has {counts[c]}" for c in np.flatnonzero(counts < examples_per_class)]
    if short:
        asked = f"{counted(examples_per_class, 'example')} of each class (examples_per_class)"
        raise DataError(f"few-shot asks for {asked}, but {', '.join(shortened(short))}")
    # RandomState, because its numbers are the same in all NumPy versions; those of np.random.Generator may change.
    order = np.random.RandomState(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # by class, in random order within a class
    starts = np.cumsum(counts) - counts
    return np.sort(order[(starts[:, None] + np.arange(examples_per_class)).reshape(-1)])
