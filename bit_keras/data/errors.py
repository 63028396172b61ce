"""The error of this package, and what raises it in several places."""

from collections.abc import Sequence

import numpy as np

_LISTED = 20


class DataError(ValueError):
    """The data are not what a task needs: missing, unreadable, misshapen or wrongly labelled.

    Attributes:
        files: paths of all image files that cannot be used, where that is the fault; the message names the first.
    """

    def __init__(self, message: str, files: Sequence[str] = ()):
        super().__init__(message)
        self.files = tuple(files)


def shortened(faults: Sequence[str]) -> list[str]:
    """Returns the first faults and how many more there are, so that an error stays readable."""
    more = len(faults) - _LISTED
    return [*faults[:_LISTED], f"and {more} more"] if more > 0 else list(faults)


def check_labels(what: str, labels: np.ndarray, num_classes: int) -> None:
    """Raises DataError unless all labels, [N] or [N, L] filled up with -1, lie in [0, num_classes)."""
    lowest = -1 if labels.ndim == 2 else 0
    wrong = labels[(labels < lowest) | (labels >= num_classes)]
    if len(wrong):
        raise DataError(f"{what} must lie in [0, {num_classes}), got {wrong[0]}")
