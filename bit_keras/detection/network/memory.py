"""Estimate of the memory that a training step of a detector needs."""

from bit_keras.detection.network.anchors import PER_CELL
from bit_keras.detection.network.detector import DEPTH, WIDTH
from bit_keras.network.memory import Memory, estimate_memory
from bit_keras.system.checks import check_integer, known_arguments
from bit_keras.zoo.variants import Variant

# Copies of the logits that a step has at once: the logits, and what the focal loss saves for its gradient.
_LOSS_COPIES = 8


@known_arguments
def estimate_detector_memory(
    variant: Variant,
    num_classes: int,
    batch_size: int,
    size: int,
    precision: str = "float32",
    accumulate: int = 1,
    freeze: str = "none",
    remat: bool = False,
    width: int = WIDTH,
    depth: int = DEPTH,
    max_boxes: int = 100,
) -> Memory:
    """Estimates what a training step needs: `network.memory.estimate_memory` for the backbone, and what is above it.

    Args:
        variant: the architecture of the backbone.
        num_classes: number of classes.
        batch_size: images per update.
        size: side of the images in pixels.
        precision, accumulate, freeze, remat: as in `detection.training.config.TrainConfig`.
        width, depth: as in `Detector`.
        max_boxes: boxes per image, with padding.

    Raises:
        ValueError: an argument is out of its range.
    """
    for name, value in {"width": width, "depth": depth, "max_boxes": max_boxes}.items():
        check_integer(name, value)
    backbone = estimate_memory(variant, num_classes, batch_size, size, precision, accumulate, freeze, remat)
    images, copies = batch_size // accumulate, 3 if accumulate > 1 else 2
    weights = _weights(variant, num_classes, width, depth) - num_classes * (variant.num_features + 1)
    cells = [(-(-size // 2**level)) ** 2 for level in range(3, 8)]
    element = 4 if precision == "float32" else 2
    # Per cell and level: the merged map, its norm and its output; in each head a convolution and its norm per layer.
    maps = element * images * sum(cells) * width * (3 + 2 * 2 * depth)
    anchors = PER_CELL * sum(cells)
    losses = 4 * images * anchors * (_LOSS_COPIES * num_classes + 2 * max_boxes + 16)
    return Memory(backbone.weights + 4 * (1 + copies) * weights, backbone.activations + maps + losses)


def _weights(variant: Variant, num_classes: int, width: int, depth: int) -> int:
    """Number of weights above the backbone."""
    features = variant.num_features
    lateral = width * (features + features // 2 + features // 4)
    pyramid = lateral + 9 * width**2 * 3 + 9 * width**2 * 2
    heads = 2 * depth * 9 * width**2 + 9 * width * PER_CELL * (num_classes + 4)
    return pyramid + heads
