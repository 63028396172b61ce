"""Warnings of a training that continues after the schedule of its optimizer has ended, at a learning rate of 0.

Keras asks nothing of an optimizer when `fit` begins, so that only a callback can warn then; when `fit` ends, it calls
the optimizer of any model.
"""

import keras
from keras import ops

from bit_keras.system.logs import logger

_WAY_OUT = "compile the model with a new optimizer, such as that of HyperRule(...).optimizer(), to train on"


def expect(optimizer: keras.optimizers.Optimizer, is_expected: bool) -> None:
    """Notes whether a `fit` under way stops where the schedule ends, or has warned that it does not."""
    if schedule := _schedule(optimizer):
        schedule.end_is_expected = is_expected


def warn_before(optimizer: keras.optimizers.Optimizer, steps_made: int, steps: int | None) -> None:
    """Warns, before `steps` more steps of the optimizer, of those that come after the end of its schedule."""
    schedule = _schedule(optimizer)
    if schedule is None or schedule.end_is_expected:
        return
    made, total = steps_made // schedule.accumulation_steps, schedule.schedule.total_steps
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
    schedule.end_is_expected = True  # once is enough


def warn_after(optimizer: keras.optimizers.Optimizer) -> None:
    """Warns, after a `fit`, of updates that were made after the end of the schedule."""
    schedule = _schedule(optimizer)
    if schedule is None or schedule.end_is_expected:
        return
    steps = int(ops.convert_to_numpy(optimizer._iterations))
    made, total = steps // schedule.accumulation_steps, schedule.schedule.total_steps
    if made > total:
        logger.warning(
            "the optimizer has made %d updates and its schedule ends after %d: since then the learning rate was 0 and "
            "nothing was learned; %s",
            made,
            total,
            _WAY_OUT,
        )


def _schedule(optimizer: keras.optimizers.Optimizer):
    """The schedule of this library that an optimizer follows, None for another one, or none."""
    schedule = getattr(optimizer, "_learning_rate", None)
    return schedule if hasattr(schedule, "end_is_expected") else None
