"""The best weights of a training."""

from collections.abc import Callable

import keras

from bit_keras.training.metrics_log import MetricsLog


class BestWeights(keras.callbacks.Callback):
    """Writes the weights after every evaluation that is better than all before it.

    If the evaluation uses test examples, they select the weights, so the accuracy on them is optimistic.

    Args:
        log: of all evaluations, including those before a restart.
        write: called without arguments; must replace the file atomically.
        metric: name in the log; higher is better.
    """

    def __init__(self, log: MetricsLog, write: Callable[[], None], metric: str = "val_accuracy"):
        super().__init__()
        self.log = log
        self.write = write
        self.metric = metric

    def on_epoch_end(self, epoch, logs=None):
        if best_row(self.log.rows, self.metric) is self.log.rows[-1]:
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()  # on jax the model's variables are stale within an epoch
            self.write()


def best_row(rows: list[dict[str, float]], metric: str = "val_accuracy") -> dict[str, float]:
    """Returns the first of the rows with the highest metric; NaN counts as the lowest."""
    return max(rows, key=lambda row: row[metric] if row[metric] == row[metric] else float("-inf"))
