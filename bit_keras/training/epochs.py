"""Splits a training into epochs, also after a restart."""

from collections.abc import Iterator


def split_into_epochs(start: int, length: int, total: int) -> Iterator[dict[str, int]]:
    """Yields the arguments of the calls of `fit` that take a training from step `start` to its end.

    An interrupted epoch is completed by a separate `fit`, since all epochs of a `fit` have the same length.

    Args:
        start: steps made so far, 0 or more.
        length: steps per epoch, 1 or more; the last one may be shorter.
        total: steps of the whole training, 1 or more.

    Yields:
        {"initial_epoch", "epochs", "steps_per_epoch"}.

    Example:
        >>> from bit_keras.training import split_into_epochs
        >>> for arguments in split_into_epochs(start=25, length=10, total=50):  # interrupted in the middle of epoch 2
        ...     print(arguments)
        {'initial_epoch': 2, 'epochs': 3, 'steps_per_epoch': 5}
        {'initial_epoch': 3, 'epochs': 5, 'steps_per_epoch': 10}
    """
    if start < total and start % length:
        end = min((start // length + 1) * length, total)
        yield {"initial_epoch": start // length, "epochs": start // length + 1, "steps_per_epoch": end - start}
        start = end
    if start < total:
        yield {"initial_epoch": start // length, "epochs": -(-total // length), "steps_per_epoch": length}
