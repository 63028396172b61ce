"""Optimizers of fine-tuning, pre-training and distillation, each with its schedule in the graph."""

import keras

from bit_keras.rules.keras_schedules import in_graph
from bit_keras.rules.schedules import CosineSchedule, Schedule
from bit_keras.rules.sgd import SGD, SGDWithL2


def optimizer(schedule: Schedule, momentum: float = 0.9, accumulate: int = 1) -> SGD:
    """Returns BiT's optimizer: SGD with momentum, no weight decay, the schedule in the graph.

    Args:
        schedule: learning rates, per update.
        momentum: of SGD.
        accumulate: micro-batches per update; their mean gradient is applied.
    """
    return SGD(momentum=momentum, **_schedule_options(schedule, accumulate))


def pretraining_optimizer(
    schedule: Schedule, weight_decay: float = 1e-4, accumulate: int = 1, clip_norm: float | None = None
) -> SGDWithL2:
    """Returns the optimizer of BiT's pre-training: SGD with momentum 0.9 and an L2 penalty on the kernels.

    Args:
        schedule: learning rates, per update.
        weight_decay: factor of the penalty, see `SGDWithL2`.
        accumulate: micro-batches per update; their mean gradient is applied.
        clip_norm: largest norm of the gradient, with that of the penalty; None for no limit.
    """
    return SGDWithL2(
        momentum=0.9, l2=weight_decay, global_clipnorm=clip_norm, **_schedule_options(schedule, accumulate)
    )


def distillation_optimizer(
    schedule: Schedule | CosineSchedule, weight_decay: float = 3e-4, accumulate: int = 1
) -> keras.optimizers.AdamW:
    """Returns the optimizer of distillation: Adam, decoupled weight decay, gradients clipped to a norm of 1.

    Source: arXiv 2106.05237, section 3.

    Args:
        schedule: learning rates, per update.
        weight_decay: fraction by which an update at the highest learning rate shrinks the weights.
        accumulate: micro-batches per update; their mean gradient is applied.
    """
    # Divided, because Keras multiplies the decay by the learning rate.
    return keras.optimizers.AdamW(
        weight_decay=weight_decay / schedule.base_lr, global_clipnorm=1.0, **_schedule_options(schedule, accumulate)
    )


def _schedule_options(schedule: Schedule | CosineSchedule, accumulate: int) -> dict:
    """Returns the arguments of a Keras optimizer that follows the schedule."""
    return {
        "learning_rate": in_graph(schedule, accumulate),
        "gradient_accumulation_steps": accumulate if accumulate > 1 else None,  # Keras rejects 1
    }
