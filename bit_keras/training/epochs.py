"""How a training is cut into epochs, after a restart too."""

from collections.abc import Iterator


def split_into_epochs(start: int, length: int, total: int) -> Iterator[dict[str, int]]:
    """Yields the arguments of the `fit`s that bring a training from step `start` to its end.

    An epoch that was cut off is ended by a `fit` of its own, since epochs of one `fit` have one length.

    Args:
        start: steps made.
        length: steps of an epoch; the last one may be shorter.
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
