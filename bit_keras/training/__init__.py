"""Pieces of training that any Keras `fit` can use: schedule, MixUp, checkpoints, progress."""

import keras

from bit_keras.hyperrule import HyperRule, Schedule
from bit_keras.training.best import BestWeights, best_row
from bit_keras.training.callbacks import HyperRuleCallback, ScheduleEnd, with_schedule_end
from bit_keras.training.checkpoint import Checkpoint, steps_made
from bit_keras.training.determinism import make_deterministic
from bit_keras.training.distribution import (
    DISTRIBUTIONS,
    Distribution,
    DistributionError,
    check_batch,
    count_devices,
    start_distribution,
)
from bit_keras.training.divergence import StopOnDivergence, TrainingDiverged
from bit_keras.training.epochs import epochs
from bit_keras.training.interruption import StopOnSignal, TrainingInterrupted
from bit_keras.training.metrics_log import MetricsLog
from bit_keras.training.mixup import MixUp
from bit_keras.training.progress import Progress
from bit_keras.training.schedule import WarmupThenCosine, WarmupThenDrops, in_graph
from bit_keras.training.sgd import SGD
from bit_keras.training.weight_decay import SGDWithL2
from bit_keras.upstream import CosineSchedule

__all__ = [
    "DISTRIBUTIONS",
    "SGD",
    "BestWeights",
    "Checkpoint",
    "Distribution",
    "DistributionError",
    "HyperRuleCallback",
    "MetricsLog",
    "MixUp",
    "Progress",
    "SGDWithL2",
    "ScheduleEnd",
    "StopOnDivergence",
    "StopOnSignal",
    "TrainingDiverged",
    "TrainingInterrupted",
    "WarmupThenCosine",
    "WarmupThenDrops",
    "best_row",
    "callbacks",
    "check_batch",
    "count_devices",
    "distillation_optimizer",
    "epochs",
    "make_deterministic",
    "optimizer",
    "pretraining_optimizer",
    "start_distribution",
    "steps_made",
    "with_schedule_end",
]


def optimizer(schedule: Schedule, momentum: float = 0.9, accumulate: int = 1) -> SGD:
    """Returns BiT's optimizer: SGD with momentum, no weight decay, the schedule in the graph.

    Args:
        schedule: of the learning rate, in updates.
        momentum: of SGD.
        accumulate: steps whose mean gradient makes one update.
    """
    return SGD(momentum=momentum, **_schedule_options(schedule, accumulate))


def pretraining_optimizer(schedule: Schedule, weight_decay: float = 1e-4, accumulate: int = 1) -> SGDWithL2:
    """Returns the optimizer of BiT's pre-training: SGD with momentum 0.9 and an L2 penalty on the kernels.

    Args:
        schedule: of the learning rate, in updates.
        weight_decay: weight of the penalty.
        accumulate: steps whose mean gradient makes one update.
    """
    return SGDWithL2(momentum=0.9, l2=weight_decay, **_schedule_options(schedule, accumulate))


def distillation_optimizer(
    schedule: Schedule | CosineSchedule, weight_decay: float = 3e-4, accumulate: int = 1
) -> keras.optimizers.AdamW:
    """Returns the optimizer of distillation: Adam, decoupled weight decay, gradients clipped to a norm of 1.

    Source: arXiv 2106.05237, section 3.

    Args:
        schedule: of the learning rate, in updates.
        weight_decay: share by which an update at the highest learning rate shrinks the weights.
        accumulate: steps whose mean gradient makes one update.
    """
    # Keras multiplies the decay by the learning rate.
    return keras.optimizers.AdamW(
        weight_decay=weight_decay / schedule.base_lr, global_clipnorm=1.0, **_schedule_options(schedule, accumulate)
    )


def _schedule_options(schedule: Schedule | CosineSchedule, accumulate: int) -> dict:
    """Options of an optimizer that follows the schedule."""
    return {
        "learning_rate": in_graph(schedule, accumulate),
        "gradient_accumulation_steps": accumulate if accumulate > 1 else None,  # Keras takes no 1
    }


def callbacks(rule: HyperRule, seed: int = 0) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that bring the rule to `fit`: schedule and end of training, MixUp where it asks for it."""
    mixup = [MixUp(rule.mixup_alpha, seed)] if rule.mixup_alpha else []
    return [HyperRuleCallback(rule.schedule), *mixup]
