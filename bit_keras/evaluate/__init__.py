"""Evaluation: every example once, as a function and as a program (`python -m bit_keras.evaluate`)."""

from bit_keras.evaluate.predictions import Predictions, predict
from bit_keras.evaluate.validation import Validation

__all__ = ["Predictions", "Validation", "predict"]
