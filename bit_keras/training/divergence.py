"""Stops a diverged training before its state replaces the last good checkpoint."""

import math
from collections.abc import Callable

from bit_keras.rules import CosineSchedule, Schedule, StepCounter


class TrainingDiverged(ArithmeticError):
    """The loss is NaN or infinite, or far above that of random guessing.

    `bit_keras.finetune` and the other trainings raise it, and any `fit` with `StopOnDivergence`.

    Example:
        >>> from bit_keras.rules import Schedule
        >>> from bit_keras.training import StopOnDivergence, TrainingDiverged
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, kernel_initializer="ones")])
        >>> model.compile(keras.optimizers.SGD(100.0), "mse")
        >>> stop = StopOnDivergence(70, Schedule(100.0, 1, (), 20))
        >>> try:
        ...     model.fit(np.ones((8, 4)), np.zeros((8, 2)), 2, epochs=5, verbose=0, callbacks=[stop])
        ... except TrainingDiverged as error:
        ...     print(error)
        the loss is ... in update 2 at learning rate 100; allowed is 70. The last checkpoint is older than that; ...
    """


def max_loss(num_classes: int) -> float:
    """Returns a hundred times the cross-entropy of random guessing, log(num_classes), in nats.

    Args:
        num_classes: number of classes; 1 counts as 2.

    Example:
        >>> from bit_keras.training import max_loss
        >>> round(max_loss(num_classes=10), 1)
        230.3
    """
    return 100 * math.log(max(num_classes, 2))


class StopOnDivergence(StepCounter):
    """Stops `fit` if the running loss is NaN or infinite, or too high.

    Args:
        max_loss: the highest loss that is allowed, for example that of the function `max_loss`.
        schedule: of the learning rate, for the message.
        accumulate: steps of the optimizer per update, 1 or more.
        name_batch: maps the number of a step to a text that names the images in its batch.

    Raises:
        TrainingDiverged: from `fit`. The message states update, learning rate, loss and batch.

    Example:
        >>> from bit_keras.rules import Schedule
        >>> from bit_keras.training import StopOnDivergence, max_loss
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
        >>> stop = StopOnDivergence(max_loss(num_classes=2), Schedule(0.01, 1, (), 20))
        >>> _ = model.fit(np.ones((8, 4)), np.eye(2)[[0, 1] * 4], 2, epochs=5, verbose=0, callbacks=[stop])
    """

    def __init__(
        self,
        max_loss: float,
        schedule: Schedule | CosineSchedule,
        accumulate: int = 1,
        name_batch: Callable[[int], str] = lambda step: "",
    ):
        super().__init__()
        self.schedule = schedule
        self.name_batch = name_batch
        self.max_loss = max_loss
        self.accumulate = accumulate

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        loss = float((logs or {}).get("loss", 0.0))
        if not loss <= self.max_loss:  # true for NaN
            step = self.steps - 1
            rate = self.schedule.learning_rate(step // self.accumulate) or 0.0
            raise TrainingDiverged(
                f"the loss is {loss:.4g} in update {self.steps // self.accumulate} at learning rate {rate:.3g}; "
                f"allowed is {self.max_loss:.4g}. The last checkpoint is older than that; a smaller base_lr may help. "
                f"{self.name_batch(step)}".rstrip()
            )
