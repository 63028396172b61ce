"""A training that has gone wrong ends at once, before its state replaces the last good checkpoint."""

import math
from collections.abc import Callable

import keras

from bit_keras.training.checkpoint import steps_made


class TrainingDiverged(ArithmeticError):
    """The loss is no number, or far above that of guessing."""


class StopOnDivergence(keras.callbacks.Callback):
    """Ends `fit` when the running loss is NaN or infinite, or a hundred times that of guessing among the classes.

    Its place is before the checkpoint's callback.

    Args:
        num_classes: guessing has a cross-entropy of log(num_classes).
        accumulate: steps of the optimizer for one update.
        name_batch: function from the number of a step to a text that says which images its batch held.

    Raises:
        TrainingDiverged: from `fit`. The message names update, learning rate, loss and batch.
    """

    def __init__(self, num_classes: int, accumulate: int = 1, name_batch: Callable[[int], str] = lambda step: ""):
        super().__init__()
        self.name_batch = name_batch
        self.max_loss = 100 * math.log(max(num_classes, 2))
        self.accumulate = accumulate

    def on_train_begin(self, logs=None):
        self._steps = steps_made(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        self._steps_before = self._steps

    def on_train_batch_end(self, batch, logs=None):
        self._steps = self._steps_before + batch + 1
        loss = float((logs or {}).get("loss", 0.0))
        if not loss <= self.max_loss:  # true for NaN
            schedule = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)._learning_rate
            rate = schedule(self._steps - 1) if callable(schedule) else schedule
            raise TrainingDiverged(
                f"the loss is {loss:.4g} in update {self._steps // self.accumulate} at learning rate "
                f"{float(rate):.3g}; allowed is {self.max_loss:.4g}. The last checkpoint is from before; a smaller "
                f"base_lr may help. {self.name_batch(self._steps - 1)}".rstrip()
            )
