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
        schedule: of the learning rate, for example `HyperRule(...).schedule`; counted in updates.

    Raises:
        ValueError: at the start of training, if the optimizer has already made all updates of the schedule.

    Example:
        >>> from bit_keras.rules import HyperRuleCallback, Schedule
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
        >>> schedule = Schedule(base_lr=0.1, warmup_steps=2, drop_steps=(3,), total_steps=5)
        >>> rule = HyperRuleCallback(schedule)  # ends this `fit` after 5 steps, in its third epoch
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 2)), 4, epochs=99, verbose=0, callbacks=[rule])
        >>> history.history["step"], history.history["learning_rate"]
        ([2, 4, 5], [0.05, 0.1, 0.01])
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
        initial_epoch: as in `fit`, 0 or more.

    Example:
        >>> from bit_keras.rules import SGD, ScheduleEnd, WarmupThenDrops
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile(SGD(WarmupThenDrops(0.1, 2, (3,), total_steps=5)), "mse")
        >>> inputs, targets = np.ones((8, 4)), np.ones((8, 2))  # 2 steps in an epoch; the schedule has 5
        >>> _ = model.fit(inputs, targets, 4, epochs=3, verbose=0, callbacks=[ScheduleEnd()])  # warns
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
        seed: of MixUp, in [0, 2**31).

    Raises:
        ValueError: `mixup_alpha` or `seed` is out of its range.

    Example:
        >>> from bit_keras.rules import rule_callbacks
        >>> rule = bit_keras.HyperRule(num_examples=50_000, image_size=(32, 32))
        >>> rule_callbacks(rule.schedule, rule.mixup_alpha)
        [<...HyperRuleCallback object at ...>, <...MixUp object at ...>]
    """
    return [HyperRuleCallback(schedule), *([MixUp(mixup_alpha, seed)] if mixup_alpha else [])]


def with_schedule_end(callbacks=None, initial_epoch: int = 0, **_):
    """Returns the `callbacks` argument of a `fit` with a `ScheduleEnd` appended, as `BiT.fit` does.

    Args:
        callbacks: Keras callbacks, one, a list or None; a `keras.callbacks.CallbackList` is returned as it is.
        initial_epoch: as in `fit`.
        **_: other arguments of `fit`, which are ignored.

    Example:
        >>> from bit_keras.rules import with_schedule_end
        >>> with_schedule_end([keras.callbacks.TerminateOnNaN()])
        [<...TerminateOnNaN object at ...>, <...ScheduleEnd object at ...>]
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):  # already bound to a model
        return callbacks
    return [*keras.tree.flatten(callbacks or []), ScheduleEnd(initial_epoch)]
