"""Estimate of the memory that a training step needs."""

import dataclasses
import math
from collections.abc import Iterator

from bit_keras.checkpoints.architecture import weight_shapes
from bit_keras.network.execution import RECOMPUTE_MINIMUM
from bit_keras.network.freezing import FREEZES, frozen_stages
from bit_keras.system.checks import check_choice, check_integer, known_arguments
from bit_keras.zoo.variants import Variant

_BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}


@dataclasses.dataclass(frozen=True)
class Memory:
    """Estimated bytes of a training step.

    Attributes:
        weights: float32 weights; for those that train also gradients, momentum, and under accumulation the sum of
            gradients.
        activations: what is saved for the backward pass: feature maps of one micro-batch, and standardized kernels.

    Example:
        >>> from bit_keras.network.memory import Memory
        >>> memory = Memory(weights=2**30, activations=3 * 2**30)  # as `estimate_memory` returns it
        >>> (memory.weights + memory.activations) / 2**30  # GiB
        4.0
    """

    weights: int
    activations: int


@known_arguments
def estimate_memory(
    variant: Variant,
    num_classes: int,
    batch_size: int,
    crop: int,
    precision: str = "float32",
    accumulate: int = 1,
    freeze: str = "none",
    remat: bool = False,
) -> Memory:
    """Estimates what a training step needs; libraries, graphs and workspaces come on top.

    It counts what the tensorflow backend saves on a CPU; `benchmarks/step_memory.py` compares it with measurements.

    Args:
        variant: the architecture, of `bit_keras.zoo.variants.get_variant`.
        num_classes: outputs of the head, 1 or more.
        batch_size: images per update, 1 or more.
        crop: side of the images in pixels, 1 or more.
        precision, accumulate, freeze, remat: as in `bit_keras.finetune.FinetuneConfig`.

    Returns:
        The bytes of weights and activations.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> from bit_keras.network.memory import estimate_memory
        >>> from bit_keras.zoo.variants import get_variant
        >>> for accumulate in (1, 8):
        ...     memory = estimate_memory(get_variant("R50x1"), 10, batch_size=512, crop=128, accumulate=accumulate)
        ...     print(f"weights {memory.weights / 2**30:.1f} GiB, activations {memory.activations / 2**30:.1f} GiB")
        weights 0.3 GiB, activations 7.0 GiB
        weights 0.4 GiB, activations 1.0 GiB
    """
    counts = {"num_classes": num_classes, "batch_size": batch_size, "crop": crop, "accumulate": accumulate}
    for name, value in counts.items():
        check_integer(name, value)
    check_choice("precision", precision, tuple(_BYTES))
    check_choice("freeze", freeze, FREEZES)
    frozen = frozen_stages(freeze)
    frozen_keys = tuple(f"resnet/{stage}/" for stage in frozen)
    sizes = {key: math.prod(shape) for key, shape in weight_shapes(variant, num_classes).items()}
    trainable = sum(size for key, size in sizes.items() if not key.startswith(frozen_keys))
    copies = 3 if accumulate > 1 else 2  # gradient and momentum, and the sum of gradients
    weights = 4 * (sum(sizes.values()) + copies * trainable)

    saved = peak = 0
    for stage, inside, output in _feature_maps(variant, batch_size // accumulate, crop, _BYTES[precision]):
        peak = max(peak, saved + inside + output)
        if stage in frozen:
            saved = output
        else:
            saved += output if remat else inside + output
    # The standardized kernel, and a gradient on its way to the kernel. In measurements rematerialization does not
    # save them: they do not depend on a unit's input, so nothing delays them.
    return Memory(weights, peak + 2 * _BYTES[precision] * trainable)


def _feature_maps(variant: Variant, images: int, crop: int, size: int) -> Iterator[tuple[str, int, int]]:
    """Yields the stage and the bytes of the inner and of the output feature maps per stem, unit and last norm.

    Args:
        variant: the architecture.
        images: images in a micro-batch.
        crop: side of the images in pixels.
        size: bytes per element in the precision of the convolutions.
    """

    def of_relu(channels: int, side: int) -> int:
        """Bytes of an output of ReLU: none for a large one, which the backward pass recomputes."""
        elements = images * channels * side**2
        return 0 if elements >= RECOMPUTE_MINIMUM else size * elements

    stem = variant.stem_filters
    side = _halved(crop)
    padded = 3 * (crop + 6) ** 2 + stem * (side + 2) ** 2
    side = _halved(side)
    yield "root_block", images * size * padded, images * size * stem * side**2
    for row in variant.unit_rows():
        before, is_strided = side, row.strides == 2
        side = _halved(side) if is_strided else side
        normalized = of_relu(row.inputs, before) + of_relu(row.filters, before) + of_relu(row.filters, side)
        convolved = row.filters * (before**2 + side**2 + ((before + 2) ** 2 if is_strided else 0))
        inside = normalized + images * size * convolved
        yield f"block{row.block}", inside, images * size * row.outputs * side**2
    yield "group_norm", of_relu(variant.num_features, side), 0


def _halved(side: int) -> int:
    """Side of a feature map after stride 2."""
    return -(-side // 2)
