"""The BiT-HyperRule's schedule as a callback of any `fit`."""

import keras

from bit_keras.hyperrule import Schedule
from bit_keras.training.checkpoint import steps_made
from bit_keras.training.schedule import in_graph
from bit_keras.upstream import CosineSchedule


class HyperRuleCallback(keras.callbacks.Callback):
    """Installs an in-graph schedule in the optimizer and ends training where the schedule ends.

    Updates are counted by the optimizer, so a restored optimizer goes on where it stood. The schedule stays in the
    optimizer: compile the model anew for another training. An execution of several steps
    (`steps_per_execution`) that reaches past the end is finished, with a learning rate of 0.

    At the end of an epoch "step" (updates made) and "learning_rate" (of the last one) are added to the logs, for
    the callbacks after this one.

    Args:
        schedule: for example `HyperRule(...).schedule`.

    Raises:
        ValueError: at the start of training, when the optimizer has already made all updates.
    """

    def __init__(self, schedule: Schedule | CosineSchedule):
        super().__init__()
        self.schedule = schedule

    def on_train_begin(self, logs=None):
        # Under float16 a LossScaleOptimizer stands around the optimizer that makes the updates.
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        self._accumulation = optimizer.gradient_accumulation_steps or 1
        self._steps = steps_made(self.model)
        if self.step >= self.schedule.total_steps:
            raise ValueError(
                f"the schedule ends after {self.schedule.total_steps} updates and the optimizer has made {self.step}; "
                "compile the model with a new optimizer to train again"
            )
        optimizer.learning_rate = in_graph(self.schedule, self._accumulation)
        # A step traced by an earlier fit holds the learning rate of that time.
        self.model.make_train_function(force=True)

    @property
    def step(self) -> int:
        """Updates made."""
        return self._steps // self._accumulation

    def on_epoch_begin(self, epoch, logs=None):
        self._steps_before = self._steps

    def on_train_batch_end(self, batch, logs=None):
        # Counted here: jax keeps the optimizer's own count out of sight during an epoch.
        self._steps = self._steps_before + batch + 1
        if self.step >= self.schedule.total_steps:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["step"] = self.step
            logs["learning_rate"] = self.schedule.learning_rate(max(0, min(self.step, self.schedule.total_steps) - 1))
