"""Splits a training into epochs, also after a restart."""

from collections.abc import Iterator


def split_into_epochs(start: int, length: int, total: int) -> Iterator[dict[str, int]]:
    """Yields the arguments of the calls of `fit` that take a training from step `start` to its end.

    An interrupted epoch is completed by a separate `fit`, since all epochs of a `fit` have the same length.

    Args:
        start: steps made so far.
        length: steps per epoch; the last one may be shorter.
        total: steps of the whole training.

    Yields:
        {"initial_epoch", "epochs", "steps_per_epoch"}.
    """
    if start < total and start % length:
        end = min((start // length + 1) * length, total)
        yield {"initial_epoch": start // length, "epochs": start // length + 1, "steps_per_epoch": end - start}
        start = end
    if start < total:
        yield {"initial_epoch": start // length, "epochs": -(-total // length), "steps_per_epoch": length}
