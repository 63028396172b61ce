"""What a network's predictions are worth: logits of every example, and measures of them."""

from bit_keras.metrics.predictions import Predictions, predict

__all__ = ["Predictions", "predict"]
