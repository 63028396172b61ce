"""Evaluation: the logits of every example, and metrics computed from them."""

from bit_keras.metrics.predictions import Predictions, predict

__all__ = ["Predictions", "predict"]
