"""The error of this package, and checks that several modules share."""

from collections.abc import Sequence

import numpy as np

_LISTED = 20  # most faults in a message


class DataError(ValueError):
    """The data do not fit the task: they are missing, unreadable, or have wrong shapes or labels.

    Attributes:
        files: paths of all image files that cannot be used, if that is the reason; the message lists the first ones.

    Example:
        >>> try:
        ...     bit_keras.data.load("broken.csv", verbose=False)  # lists broken.jpg, which is no image
        ... except bit_keras.data.DataError as error:
        ...     print(error.files)
        ('broken.jpg',)
    """

    def __init__(self, message: str, files: Sequence[str] = ()):
        super().__init__(message)
        self.files = tuple(files)


def shortened(faults: Sequence[str]) -> list[str]:
    """Returns the first faults and the number of the others, so that a message stays readable."""
    more = len(faults) - _LISTED
    return [*faults[:_LISTED], f"and {more} more"] if more > 0 else list(faults)


def check_labels(what: str, labels: np.ndarray, num_classes: int) -> None:
    """Raises DataError unless all labels, [N] or [N, L] padded with -1, are in [0, num_classes)."""
    lowest = -1 if labels.ndim == 2 else 0
    wrong = labels[(labels < lowest) | (labels >= num_classes)]
    if len(wrong):
        raise DataError(f"{what} must lie in [0, {num_classes}), got {wrong[0]}")
