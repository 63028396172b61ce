"""Few-shot learning: draws a few training examples per class."""

from collections.abc import Sequence

import numpy as np

from bit_keras.data.errors import DataError, check_labels, shortened
from bit_keras.system.checks import check_choice
from bit_keras.system.texts import counted

OFFICIAL_EXAMPLES = 200_000  # the official code draws from as many of the first examples as it reads into memory


def draw(
    labels: np.ndarray, class_names: Sequence[str], examples_per_class: int, seed: int, method: str = "nested"
) -> np.ndarray:
    """Draws the same number of examples per class, without replacement.

    Args:
        labels: integers [N].
        class_names: one name per class.
        examples_per_class: number of examples per class, 1 or more.
        seed: in [0, 2**32). With the same seed a larger draw contains the smaller ones, unless `method` is "official".
        method: "nested" draws from all examples;
            "official" makes the draws of google-research/big_transfer, from the first 200,000 examples;
            "big_vision" makes those of google-research/big_vision, which take all examples of a class that has fewer.

    Returns:
        Indices into `labels`: int64 [classes * examples_per_class], ascending.

    Raises:
        DataError: a label is out of its range, or a class has too few examples.
        ValueError: an argument is out of its range.
    """
    if examples_per_class < 1:
        raise ValueError(f"examples_per_class must be 1 or more, got {examples_per_class}")
    check_choice("draw", method, DRAWS)
    check_labels("training labels", labels, len(class_names))
    if method == "official":
        labels = labels[:OFFICIAL_EXAMPLES]
    counts = np.bincount(labels, minlength=len(class_names))
    short = [f"{class_names[c]!r} has {counts[c]}" for c in np.flatnonzero(counts < examples_per_class)]
    if short and method != "big_vision":
        among = f" among the first {OFFICIAL_EXAMPLES:,}" if method == "official" else ""
        asked = f"{counted(examples_per_class, 'example')} of each class{among} (examples_per_class)"
        raise DataError(f"few-shot asks for {asked}, but {', '.join(shortened(short))}")
    return np.sort(_METHODS[method](labels, counts, examples_per_class, seed)).astype(np.int64)


def _nested(labels: np.ndarray, counts: np.ndarray, examples_per_class: int, seed: int) -> np.ndarray:
    # RandomState, because its numbers are the same in all NumPy versions; those of np.random.Generator may change.
    order = np.random.RandomState(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # by class, in random order within a class
    starts = np.cumsum(counts) - counts
    return order[(starts[:, None] + np.arange(examples_per_class)).reshape(-1)]


def _official(labels: np.ndarray, counts: np.ndarray, examples_per_class: int, seed: int) -> np.ndarray:
    """Source: google-research/big_transfer, `input_pipeline_tf2_or_jax.py`, `sample_subset`."""
    random = np.random.RandomState(seed)
    return np.concatenate(
        [random.choice(each, examples_per_class, replace=False) for each in _by_class(labels, counts)]
    )


def _big_vision(labels: np.ndarray, counts: np.ndarray, examples_per_class: int, seed: int) -> np.ndarray:
    """Source: google-research/big_vision, `big_vision/evaluators/fewshot_lsr.py`."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(each)[:examples_per_class] for each in _by_class(labels, counts)])


def _by_class(labels: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Returns the indices of the examples of each class, ascending."""
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])


_METHODS = {"nested": _nested, "official": _official, "big_vision": _big_vision}
DRAWS = tuple(_METHODS)
