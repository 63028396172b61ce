"""How evenly the examples of a task are spread over its classes."""

from collections.abc import Sequence

import numpy as np

from bit_keras.data.fewshot import check_labels


def describe_balance(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns one line with the fewest, the median and the most images of a class, and the ratio of most to fewest.

    Args:
        labels: integers [N] in [0, number of classes).
        class_names: one name for each class.

    Raises:
        DataError: a label is out of its range.
    """
    check_labels("labels", labels, len(class_names))
    counts = np.bincount(labels, minlength=len(class_names))
    fewest, most = counts.argmin(), counts.argmax()
    ratio = f"{counts[most] / counts[fewest]:.1f}" if counts[fewest] else "infinite"
    return (
        f"images per class: min {counts[fewest]} ({class_names[fewest]!r}), median {np.median(counts):g}, "
        f"max {counts[most]} ({class_names[most]!r}), ratio {ratio}"
    )
