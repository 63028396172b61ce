"""Options of SavedModels of detectors. Imports TensorFlow, as the module that the limits are from."""

import dataclasses

from bit_keras.detection.network import decoding
from bit_keras.saved_models.decoding import MAX_PIXELS, MAX_SCANS
from bit_keras.saved_models.serving import PRECISIONS
from bit_keras.system.checks import known_arguments

MAX_ROWS = 32


@known_arguments
@dataclasses.dataclass(frozen=True)
class ServingOptions:
    """Options of the SavedModel of a detector.

    Attributes:
        resolution: side in pixels of the squares that `serve_bytes` resizes images into, 1 or more.
        precision: "float32", or "bfloat16" to store the kernels and compute the convolutions in half precision.
        score: boxes with this score or less are left out, in [0, 1].
        iou: a box goes if its IoU with a better one of the same class is more than this, in [0, 1].
        limit: number of boxes to keep per image, 1 or more.
        candidates: number of pairs of anchor and class with the best scores that are looked at, 1 or more.
        max_rows: image files in a request, 1 or more; larger requests fail before anything is decoded. An image takes
            12 MB at 1024 pixels until the last of its request is computed.
        max_pixels, max_scans: as in `bit_keras.saved_models.serving.ServingOptions`.

    Raises:
        ValueError: a value is out of its range.

    Example:
        >>> from bit_keras.detection.export.options import ServingOptions
        >>> options = ServingOptions(resolution=1024, score=0.3)
        >>> options.iou, options.limit, options.precision
        (0.5, 100, 'float32')
    """

    resolution: int
    precision: str = "float32"
    score: float = decoding.SCORE
    iou: float = decoding.IOU
    limit: int = decoding.KEPT
    candidates: int = decoding.CANDIDATES
    max_rows: int = MAX_ROWS
    max_pixels: int = MAX_PIXELS
    max_scans: int = MAX_SCANS

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        for name in ("score", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("resolution", "limit", "candidates", "max_rows", "max_pixels", "max_scans"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
