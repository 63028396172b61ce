"""Pieces of training that any Keras `fit` can use: schedule, MixUp, checkpoints, progress."""

import keras

from bit_keras.hyperrule import HyperRule, Schedule
from bit_keras.training.callbacks import HyperRuleCallback
from bit_keras.training.checkpoint import Checkpoint, steps_made
from bit_keras.training.determinism import make_deterministic
from bit_keras.training.divergence import StopOnDivergence, TrainingDiverged
from bit_keras.training.epochs import epochs
from bit_keras.training.freezing import FREEZES, count_trainable, freeze
from bit_keras.training.interruption import StopOnSignal, TrainingInterrupted
from bit_keras.training.metrics_log import MetricsLog
from bit_keras.training.mixup import MixUp
from bit_keras.training.progress import Progress
from bit_keras.training.schedule import WarmupThenDrops

__all__ = [
    "FREEZES",
    "Checkpoint",
    "HyperRuleCallback",
    "MetricsLog",
    "MixUp",
    "Progress",
    "StopOnDivergence",
    "StopOnSignal",
    "TrainingDiverged",
    "TrainingInterrupted",
    "WarmupThenDrops",
    "callbacks",
    "count_trainable",
    "epochs",
    "freeze",
    "make_deterministic",
    "optimizer",
    "steps_made",
]


def optimizer(schedule: Schedule, momentum: float = 0.9, accumulate: int = 1) -> keras.optimizers.SGD:
    """Returns BiT's optimizer: SGD with momentum, no weight decay, the schedule in the graph.

    Args:
        schedule: of the learning rate, in updates.
        momentum: of SGD.
        accumulate: steps whose mean gradient makes one update.
    """
    rate = WarmupThenDrops(**vars(schedule), accumulation_steps=accumulate)
    steps = accumulate if accumulate > 1 else None  # Keras takes no 1
    return keras.optimizers.SGD(rate, momentum=momentum, gradient_accumulation_steps=steps)


def callbacks(rule: HyperRule, seed: int = 0) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that bring the rule to `fit`: schedule and end of training, MixUp where it asks for it."""
    mixup = [MixUp(rule.mixup_alpha, seed)] if rule.mixup_alpha else []
    return [HyperRuleCallback(rule.schedule), *mixup]
