"""Learning rate schedules as pure Python records; `keras_schedules` evaluates them in the training graph."""

import dataclasses
import itertools
import math

from bit_keras.system.checks import check_integer, known_arguments


class _Warmup:
    """Linear warm-up from 0 to `base_lr`; a subclass has the fields and says what follows."""

    base_lr: float
    warmup_steps: int
    total_steps: int

    def __post_init__(self):
        if not self.base_lr > 0:
            raise ValueError(f"base_lr must be more than 0, got {self.base_lr}")

    def __str__(self) -> str:
        return f"{self.total_steps:,} updates, learning rate {self.base_lr:g} after {self.warmup_steps:,} of warm-up"

    def learning_rate(self, step: int) -> float | None:
        """Learning rate of update `step`, counted from 0; None from `total_steps` on.

        Raises:
            ValueError: `step` is less than 0.
        """
        if step < 0:
            raise ValueError(f"step must be 0 or more, got {step}")
        if step >= self.total_steps:
            return None
        if step < self.warmup_steps:
            return self.base_lr * step / self.warmup_steps
        return self._after_warmup(step)


@known_arguments
@dataclasses.dataclass(frozen=True)
class Schedule(_Warmup):
    """Linear warm-up from 0, then drops by a factor of 10.

    Attributes:
        base_lr: learning rate after the warm-up, more than 0.
        warmup_steps: updates until `base_lr` is reached, 1 or more.
        drop_steps: the learning rate is divided by 10 from the update *after* each of these, ascending.
        total_steps: number of updates, more than the last drop.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> from bit_keras.rules import Schedule
        >>> schedule = Schedule(base_lr=0.1, warmup_steps=10, drop_steps=(50, 80), total_steps=100)
        >>> print(schedule)
        100 updates, learning rate 0.1 after 10 of warm-up, a tenth after 50, 80
        >>> [schedule.learning_rate(step) for step in (5, 10, 51, 100)]
        [0.05, 0.1, 0.01, None]
    """

    base_lr: float
    warmup_steps: int
    drop_steps: tuple[int, ...]
    total_steps: int

    def __post_init__(self):
        super().__post_init__()
        supports = (0, self.warmup_steps, *self.drop_steps, self.total_steps)
        if any(a >= b for a, b in itertools.pairwise(supports)):
            raise ValueError(
                "warmup_steps, drop_steps and total_steps must be ascending numbers of steps, each 1 or more, got "
                f"{supports[1:]}; train for more steps"
            )

    def __str__(self) -> str:
        drops = ", ".join(f"{step:,}" for step in self.drop_steps)
        return super().__str__() + (f", a tenth after {drops}" if drops else "")

    def _after_warmup(self, step: int) -> float:
        rate = self.base_lr
        for drop in self.drop_steps:
            if step > drop:
                rate /= 10
        return rate


@known_arguments
def upstream_schedule(total_steps: int, batch_size: int) -> Schedule:
    """The schedule of BiT-S and BiT-M: warm-up, then drops by 10 at 30, 60 and 80 of 90 epochs.

    Source: arXiv 1912.11370, section 3.2.

    Args:
        total_steps: number of updates, 5 or more.
        batch_size: images per update, 1 or more; the learning rate is 0.03 * batch_size / 256.

    Returns:
        The schedule. It warms up for 1/22 of the training; the paper for 5000 updates, regardless of the length.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> from bit_keras.rules import upstream_schedule
        >>> upstream_schedule(total_steps=9000, batch_size=256)
        Schedule(base_lr=0.03, warmup_steps=409, drop_steps=(3000, 6000, 8000), total_steps=9000)
    """
    check_integer("total_steps", total_steps)
    check_integer("batch_size", batch_size)
    drops = tuple(round(total_steps * epoch / 90) for epoch in (30, 60, 80))
    return Schedule(0.03 * batch_size / 256, max(1, round(total_steps / 22)), drops, total_steps)


@known_arguments
@dataclasses.dataclass(frozen=True)
class CosineSchedule(_Warmup):
    """Linear warm-up from 0, then half a cosine down to 0.

    Source: arXiv 2106.05237, section 3.

    Attributes:
        base_lr: learning rate after the warm-up, more than 0.
        warmup_steps: updates until `base_lr` is reached, 1 or more.
        total_steps: number of updates, more than `warmup_steps`.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> from bit_keras.rules import CosineSchedule
        >>> schedule = CosineSchedule(base_lr=0.1, warmup_steps=10, total_steps=110)
        >>> [schedule.learning_rate(step) for step in (5, 10, 110)]  # half of the warm-up, all of it, after the end
        [0.05, 0.1, None]
    """

    base_lr: float
    warmup_steps: int
    total_steps: int

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.warmup_steps < self.total_steps:
            raise ValueError(
                "warmup_steps must be 1 or more and less than total_steps, got "
                f"{self.warmup_steps} and {self.total_steps}"
            )

    def __str__(self) -> str:
        return f"{super().__str__()}, then half a cosine to 0"

    def _after_warmup(self, step: int) -> float:
        done = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return self.base_lr * (1 + math.cos(math.pi * done)) / 2
