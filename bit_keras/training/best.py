"""The best weights of a training."""

from collections.abc import Callable

import keras

from bit_keras.training.metrics_log import MetricsLog


class BestWeights(keras.callbacks.Callback):
    """Writes the weights after an evaluation that is better than all before it.

    Where the evaluation is on test examples, they have chosen the weights, whose accuracy on them flatters.

    Args:
        log: of all evaluations, those before a restart too.
        write: called without arguments; must replace the file whole.
        metric: of the log, the higher the better.
    """

    def __init__(self, log: MetricsLog, write: Callable[[], None], metric: str = "val_accuracy"):
        super().__init__()
        self.log = log
        self.write = write
        self.metric = metric

    def on_epoch_end(self, epoch, logs=None):
        if best_row(self.log.rows, self.metric) is self.log.rows[-1]:
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()  # jax keeps the state of an epoch out of the model
            self.write()


def best_row(rows: list[dict[str, float]], metric: str = "val_accuracy") -> dict[str, float]:
    """Returns the first of the rows in which the metric is highest; a metric that is no number never is."""
    return max(rows, key=lambda row: row[metric] if row[metric] == row[metric] else float("-inf"))
