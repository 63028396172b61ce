"""Warnings about training after the end of the optimizer's schedule, where the learning rate is 0.

At the start of `fit` only a callback can warn, because Keras does not call the optimizer then. At the end of `fit` it
does, for every model.
"""

import keras

from bit_keras.rules.step_counter import steps_of
from bit_keras.system.logs import logger

_WAY_OUT = "compile the model with a new optimizer, such as that of HyperRule(...).optimizer(), to train on"


def expect(optimizer: keras.optimizers.Optimizer, is_expected: bool) -> None:
    """Records whether the current `fit` stops at the end of the schedule, or has already warned that it does not."""
    if schedule := _schedule(optimizer):
        schedule.end_is_expected = is_expected


def warn_before(optimizer: keras.optimizers.Optimizer, steps: int | None) -> None:
    """Warns before training if it exceeds the optimizer's schedule.

    Args:
        optimizer: may follow any schedule, or none.
        steps: steps of the coming training, None if unknown.
    """
    schedule = _schedule(optimizer)
    if schedule is None or schedule.end_is_expected:
        return
    made, total = _updates(optimizer, schedule)
    if made >= total:
        logger.warning(
            "the optimizer has made %d updates and its schedule ends after %d: the learning rate is 0 and nothing is "
            "learned; %s",
            made,
            total,
            _WAY_OUT,
        )
    elif steps is not None and made + steps // schedule.accumulation_steps > total:
        logger.warning(
            "the schedule of the optimizer ends after %d updates, %d of them made, and this training makes %d: the "
            "learning rate of the last ones is 0; HyperRule(...).callbacks() end a training in time",
            total,
            made,
            steps // schedule.accumulation_steps,
        )
    else:
        return
    schedule.end_is_expected = True  # no second warning at the end of `fit`


def warn_after(optimizer: keras.optimizers.Optimizer) -> None:
    """Warns after a `fit` if updates were made after the end of the schedule."""
    schedule = _schedule(optimizer)
    if schedule is None or schedule.end_is_expected:
        return
    made, total = _updates(optimizer, schedule)
    if made > total:
        logger.warning(
            "the optimizer has made %d updates and its schedule ends after %d: since then the learning rate was 0 and "
            "nothing was learned; %s",
            made,
            total,
            _WAY_OUT,
        )


def _schedule(optimizer: keras.optimizers.Optimizer):
    """Returns the optimizer's schedule if it is one of this library, else None."""
    schedule = getattr(optimizer, "_learning_rate", None)
    return schedule if hasattr(schedule, "end_is_expected") else None


def _updates(optimizer: keras.optimizers.Optimizer, schedule) -> tuple[int, int]:
    """Returns the number of updates so far, and that of the whole schedule."""
    return steps_of(optimizer) // schedule.accumulation_steps, schedule.schedule.total_steps
