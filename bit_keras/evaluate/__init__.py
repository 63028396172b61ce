"""Evaluation: every example once, as a function and as a program (`python -m bit_keras.evaluate`)."""

from bit_keras.evaluate.predictions import Predictions, predict

__all__ = ["Predictions", "predict"]
