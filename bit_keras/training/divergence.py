"""A training that has gone wrong ends at once, before its state replaces the last good checkpoint."""

import math
from collections.abc import Callable

from bit_keras.rules import CosineSchedule, Schedule, StepCounter


class TrainingDiverged(ArithmeticError):
    """The loss is NaN or infinite, or far above that of guessing."""


class StopOnDivergence(StepCounter):
    """Ends `fit` when the running loss is NaN or infinite, or a hundred times that of guessing among the classes.

    Args:
        num_classes: guessing has a cross-entropy of log(num_classes).
        schedule: of the learning rate, which the message names.
        accumulate: steps of the optimizer for one update.
        name_batch: function from the number of a step to a text that says which images its batch held.

    Raises:
        TrainingDiverged: from `fit`. The message names update, learning rate, loss and batch.
    """

    def __init__(
        self,
        num_classes: int,
        schedule: Schedule | CosineSchedule,
        accumulate: int = 1,
        name_batch: Callable[[int], str] = lambda step: "",
    ):
        super().__init__()
        self.schedule = schedule
        self.name_batch = name_batch
        self.max_loss = 100 * math.log(max(num_classes, 2))
        self.accumulate = accumulate

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        loss = float((logs or {}).get("loss", 0.0))
        if not loss <= self.max_loss:  # true for NaN
            step = self.steps - 1
            rate = self.schedule.learning_rate(step // self.accumulate) or 0.0
            raise TrainingDiverged(
                f"the loss is {loss:.4g} in update {self.steps // self.accumulate} at learning rate {rate:.3g}; "
                f"allowed is {self.max_loss:.4g}. The last checkpoint is from before; a smaller base_lr may help. "
                f"{self.name_batch(step)}".rstrip()
            )
