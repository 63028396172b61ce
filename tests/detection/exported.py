"""A detector whose random weights find boxes, and images for it."""

import dataclasses
import io

import keras
import numpy as np
from PIL import Image

from bit_keras.detection import Detector

NAMES = ("Katze ä", "dog", "cow")
RESOLUTION = 96
ORIENTATION = 0x0112


def random_detector() -> Detector:
    """Returns a detector with three classes; its scores are spread over [0, 1]."""
    keras.utils.set_random_seed(0)
    detector = Detector("R17x0.5", len(NAMES), width=32, depth=1)
    for name, scale, shift in (("class", 30, 2.5), ("box", 10, 0)):
        prediction = detector.get_layer(f"{name}_head_prediction_conv2d")
        kernel, bias = prediction.get_weights()
        prediction.set_weights([kernel * scale, bias + shift])
    detector.card = dataclasses.replace(detector.card, class_names=NAMES, resolution=RESOLUTION)
    return detector


def random_images(*shape: int) -> np.ndarray:
    """Returns float32 [N, H, W, 3] in [0, 1]."""
    return np.random.default_rng(shape).uniform(size=(*shape, 3)).astype(np.float32)


def photo(height: int, width: int) -> np.ndarray:
    """Returns uint8 [height, width, 3]: noise, since equal parts of an image would have equal scores."""
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), np.uint8)


def encode(image: np.ndarray, file_format: str, orientation: int | None = None) -> bytes:
    """Returns an image file."""
    exif = Image.Exif()
    if orientation:
        exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, file_format, exif=exif)
    return buffer.getvalue()
