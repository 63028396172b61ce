"""Callbacks for any `fit` that apply a schedule, or warn if training outlasts it."""

import keras

from bit_keras.rules import end_of_schedule
from bit_keras.rules.keras_schedules import in_graph
from bit_keras.rules.mixup import MixUp
from bit_keras.rules.schedules import CosineSchedule, Schedule
from bit_keras.rules.step_counter import StepCounter, inner_optimizer


class HyperRuleCallback(StepCounter):
    """Installs an in-graph schedule in the optimizer and stops training at the end of the schedule.

    The optimizer counts the updates, so training resumes correctly with a restored optimizer. The schedule stays in
    the optimizer: compile the model again to train it again. With `steps_per_execution` the last execution may
    exceed the schedule; its additional updates have a learning rate of 0.

    At the end of each epoch "step" (number of updates so far) and "learning_rate" (of the last update) are added to
    the logs, for the callbacks after this one.

    Args:
        schedule: for example `HyperRule(...).schedule`.

    Raises:
        ValueError: at the start of training, if the optimizer has already made all updates of the schedule.
    """

    def __init__(self, schedule: Schedule | CosineSchedule):
        super().__init__()
        self.schedule = schedule

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        optimizer = inner_optimizer(self.model)
        self._accumulation = optimizer.gradient_accumulation_steps or 1
        if self.step >= self.schedule.total_steps:
            raise ValueError(
                f"the schedule ends after {self.schedule.total_steps} updates and the optimizer has made {self.step}; "
                "compile the model with a new optimizer to train again"
            )
        optimizer.learning_rate = in_graph(self.schedule, self._accumulation)
        end_of_schedule.expect(optimizer, True)
        # A training step traced by an earlier `fit` contains the previous learning rate.
        self.model.make_train_function(force=True)

    @property
    def step(self) -> int:
        """Number of updates so far."""
        return self.steps // self._accumulation

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step >= self.schedule.total_steps:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["step"] = self.step
            logs["learning_rate"] = self.schedule.learning_rate(max(0, min(self.step, self.schedule.total_steps) - 1))

    def on_train_end(self, logs=None):
        end_of_schedule.expect(inner_optimizer(self.model), False)


class ScheduleEnd(keras.callbacks.Callback):
    """Warns at the start of training if the optimizer's schedule ends before the training does.

    `BiT.fit` adds it. It ignores optimizers without a schedule of this library, and those that a `HyperRuleCallback`
    before this one stops in time.

    Args:
        initial_epoch: as in `fit`.
    """

    def __init__(self, initial_epoch: int = 0):
        super().__init__()
        self.initial_epoch = initial_epoch

    def set_model(self, model):
        super().set_model(model)
        end_of_schedule.expect(inner_optimizer(model), False)  # before any callback's `on_train_begin`

    def on_train_begin(self, logs=None):
        steps = self.params["steps"]  # None if unknown
        epochs = self.params["epochs"] - self.initial_epoch
        end_of_schedule.warn_before(inner_optimizer(self.model), steps and steps * epochs)

    def on_train_end(self, logs=None):
        end_of_schedule.expect(inner_optimizer(self.model), False)


def rule_callbacks(
    schedule: Schedule | CosineSchedule, mixup_alpha: float, seed: int = 0
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of a training: the schedule and its end, then MixUp unless `mixup_alpha` is 0.

    Args:
        schedule: of the learning rate.
        mixup_alpha: parameter of MixUp's Beta(alpha, alpha), 0 or more.
        seed: of MixUp, 0 or more.
    """
    return [HyperRuleCallback(schedule), *([MixUp(mixup_alpha, seed)] if mixup_alpha else [])]


def with_schedule_end(callbacks=None, initial_epoch: int = 0, **_):
    """Returns the `callbacks` argument of a `fit` with a `ScheduleEnd` appended; other arguments are ignored."""
    if isinstance(callbacks, keras.callbacks.CallbackList):  # already bound to a model
        return callbacks
    return [*keras.tree.flatten(callbacks or []), ScheduleEnd(initial_epoch)]
