"""Callbacks and helpers for any Keras `fit`: checkpoints, progress, interruption, validation."""

from bit_keras.training.best import BestWeights, best_row
from bit_keras.training.checkpoint import Checkpoint
from bit_keras.training.determinism import make_deterministic
from bit_keras.training.divergence import StopOnDivergence, TrainingDiverged, max_loss
from bit_keras.training.epochs import split_into_epochs
from bit_keras.training.interruption import StopOnSignal, TrainingInterrupted
from bit_keras.training.metrics_log import MetricsLog
from bit_keras.training.progress import Progress
from bit_keras.training.validation import Validation

__all__ = [
    "BestWeights",
    "Checkpoint",
    "MetricsLog",
    "Progress",
    "StopOnDivergence",
    "StopOnSignal",
    "TrainingDiverged",
    "TrainingInterrupted",
    "Validation",
    "best_row",
    "make_deterministic",
    "max_loss",
    "split_into_epochs",
]
