"""Finding objects in images and files."""

from bit_keras.detection.inference.predictor import DetectionPredictor

__all__ = ["DetectionPredictor"]
