"""Pieces of training that any Keras `fit` can use: schedule, MixUp, checkpoints, progress."""

import keras

from bit_keras.hyperrule import HyperRule, Schedule
from bit_keras.training.callbacks import HyperRuleCallback
from bit_keras.training.checkpoint import Checkpoint
from bit_keras.training.determinism import make_deterministic
from bit_keras.training.epochs import epochs
from bit_keras.training.interruption import StopOnSignal, TrainingInterrupted
from bit_keras.training.metrics_log import MetricsLog
from bit_keras.training.mixup import MixUp
from bit_keras.training.progress import Progress
from bit_keras.training.schedule import WarmupThenDrops

__all__ = [
    "Checkpoint",
    "HyperRuleCallback",
    "MetricsLog",
    "MixUp",
    "Progress",
    "StopOnSignal",
    "TrainingInterrupted",
    "WarmupThenDrops",
    "callbacks",
    "epochs",
    "make_deterministic",
    "optimizer",
]


def optimizer(schedule: Schedule, momentum: float = 0.9) -> keras.optimizers.SGD:
    """Returns BiT's optimizer: SGD with momentum, no weight decay, the schedule in the graph."""
    return keras.optimizers.SGD(WarmupThenDrops(**vars(schedule)), momentum=momentum)


def callbacks(rule: HyperRule, seed: int = 0) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that bring the rule to `fit`: schedule and end of training, MixUp where it asks for it."""
    mixup = [MixUp(rule.mixup_alpha, seed)] if rule.mixup_alpha else []
    return [HyperRuleCallback(rule.schedule), *mixup]
