"""Detectors as SavedModels, ONNX and LiteRT files."""

from bit_keras.detection.export.saved_model import export_detector, export_detector_serving

__all__ = ["export_detector", "export_detector_serving"]
