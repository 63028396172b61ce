"""Learning rate schedules for Keras optimizers, evaluated inside the training graph."""

import dataclasses
import math

import keras
from keras import ops

from bit_keras.rules.schedules import CosineSchedule, Schedule


class _OfRecord(keras.optimizers.schedules.LearningRateSchedule):
    """Keras schedule with the numbers of a record; a subclass evaluates them."""

    def __init__(self, schedule: Schedule | CosineSchedule, accumulation_steps: int):
        if accumulation_steps < 1:
            raise ValueError(f"accumulation_steps must be 1 or more, got {accumulation_steps}")
        self.schedule = schedule
        self.accumulation_steps = accumulation_steps
        self.end_is_expected = False  # see end_of_schedule

    def get_config(self):
        return {**dataclasses.asdict(self.schedule), "accumulation_steps": self.accumulation_steps}


@keras.saving.register_keras_serializable(package="bit_keras")
class WarmupThenDrops(_OfRecord):
    """Linear warm-up from 0, then drops by a factor of 10; 0 after the end.

    The optimizer evaluates it at every step, so it is exact for any `steps_per_execution`. It equals
    `Schedule.learning_rate` up to the rounding of float32.

    Args:
        base_lr, warmup_steps, drop_steps, total_steps: as in `bit_keras.rules.Schedule`.
        accumulation_steps: steps of the optimizer per update, 1 or more, its `gradient_accumulation_steps`. Keras
            counts steps, the schedule counts updates.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> from bit_keras.rules import WarmupThenDrops
        >>> rate = WarmupThenDrops(base_lr=0.1, warmup_steps=10, drop_steps=(50, 80), total_steps=100)
        >>> optimizer = keras.optimizers.SGD(rate, momentum=0.9)
        >>> [round(float(rate(step)), 4) for step in (5, 10, 51, 100)]
        [0.05, 0.1, 0.01, 0.0]
    """

    def __init__(
        self,
        base_lr: float,
        warmup_steps: int,
        drop_steps: tuple[int, ...],
        total_steps: int,
        accumulation_steps: int = 1,
    ):
        super().__init__(Schedule(base_lr, warmup_steps, tuple(drop_steps), total_steps), accumulation_steps)

    def __call__(self, step):
        schedule = self.schedule
        update = ops.floor_divide(ops.cast(step, "int32"), self.accumulation_steps)
        warm = ops.cast(update, "float32") * schedule.base_lr / schedule.warmup_steps
        rate = ops.where(update < schedule.warmup_steps, warm, schedule.base_lr)
        for number, drop in enumerate(schedule.drop_steps, start=1):
            rate = ops.where(update > drop, schedule.base_lr / 10**number, rate)
        return ops.where(update < schedule.total_steps, rate, 0.0)


@keras.saving.register_keras_serializable(package="bit_keras")
class WarmupThenCosine(_OfRecord):
    """Linear warm-up from 0, then half a cosine down to 0; 0 after the end. Otherwise as `WarmupThenDrops`.

    Args:
        base_lr, warmup_steps, total_steps: as in `bit_keras.rules.CosineSchedule`.
        accumulation_steps: steps of the optimizer per update, 1 or more.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> from bit_keras.rules import WarmupThenCosine
        >>> rate = WarmupThenCosine(base_lr=0.1, warmup_steps=10, total_steps=110)
        >>> optimizer = keras.optimizers.Adam(rate)
        >>> [round(float(rate(step)), 4) for step in (5, 10, 60, 110)]
        [0.05, 0.1, 0.05, 0.0]
    """

    def __init__(self, base_lr: float, warmup_steps: int, total_steps: int, accumulation_steps: int = 1):
        super().__init__(CosineSchedule(base_lr, warmup_steps, total_steps), accumulation_steps)

    def __call__(self, step):
        schedule = self.schedule
        update = ops.cast(ops.floor_divide(ops.cast(step, "int32"), self.accumulation_steps), "float32")
        warm = update * schedule.base_lr / schedule.warmup_steps
        done = ops.minimum((update - schedule.warmup_steps) / (schedule.total_steps - schedule.warmup_steps), 1.0)
        return ops.where(update < schedule.warmup_steps, warm, schedule.base_lr * (1 + ops.cos(math.pi * done)) / 2)


def in_graph(schedule: Schedule | CosineSchedule, accumulation_steps: int = 1):
    """Returns the Keras schedule with the numbers of a record: `WarmupThenDrops` or `WarmupThenCosine`.

    Args:
        schedule: the record.
        accumulation_steps: steps of the optimizer per update, 1 or more.

    Raises:
        ValueError: `accumulation_steps` is less than 1.

    Example:
        >>> from bit_keras.rules import in_graph
        >>> rule = bit_keras.HyperRule(num_examples=50_000, image_size=(32, 32))
        >>> optimizer = keras.optimizers.SGD(in_graph(rule.schedule), momentum=rule.momentum)
        >>> round(float(optimizer.learning_rate), 4)  # of the first update
        0.0
    """
    kind = WarmupThenCosine if isinstance(schedule, CosineSchedule) else WarmupThenDrops
    return kind(**vars(schedule), accumulation_steps=accumulation_steps)
