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

    Raises:
        KeyError: from `fit`, if the log does not have the metric.

    Example:
        >>> from bit_keras.training import BestWeights, MetricsLog
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse", metrics=["accuracy"])
        >>> log, images, labels = MetricsLog(None), np.ones((8, 4)), np.eye(2)[[0] * 8]
        >>> callbacks = [log, BestWeights(log, lambda: model.save_weights("best.weights.h5"))]
        >>> _ = model.fit(images, labels, verbose=0, validation_data=(images, labels), callbacks=callbacks)
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
    """Returns the first of the rows with the highest metric; NaN counts as the lowest.

    Args:
        rows: {name of a metric: value} per epoch, one or more, such as `MetricsLog.rows`.
        metric: its name.

    Raises:
        ValueError: there are no rows.
        KeyError: a row does not have the metric.

    Example:
        >>> from bit_keras.training import best_row
        >>> rows = [{"epoch": number, "val_accuracy": value} for number, value in enumerate((0.8, 0.9, 0.9))]
        >>> best_row(rows)
        {'epoch': 1, 'val_accuracy': 0.9}
    """
    return max(rows, key=lambda row: row[metric] if row[metric] == row[metric] else float("-inf"))
