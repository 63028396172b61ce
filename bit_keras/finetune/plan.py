"""What a run would do, said without doing it."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

from bit_keras import checkpoints, data
from bit_keras.checkpoints.architecture import weight_shapes
from bit_keras.finetune.config import FinetuneConfig
from bit_keras.network.arithmetic import LARGE
from bit_keras.network.freezing import STAGES
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.rules.schedules import Schedule, upstream_schedule
from bit_keras.runs.opening import open_source
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import EXPANSION, VARIANTS, Variant

_BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}


@dataclasses.dataclass(frozen=True)
class Memory:
    """Estimated bytes of a training step.

    Attributes:
        weights: float32 weights, and gradients, their sum under accumulation, and momentum of those that train.
        activations: what the backward pass needs of the forward pass: feature maps of one part of the batch, and
            standardized kernels.
    """

    weights: int
    activations: int


def task(config: FinetuneConfig, dataset: str | data.Source) -> tuple[data.Source, HyperRule, Schedule]:
    """Returns the data of a run, its rule, and the schedule that it follows."""
    source = open_source(config, dataset)
    source.check_one_label("fine-tuning")
    if config.examples_per_class:
        source = source.few_shot(config.examples_per_class, config.seed)
    rule = HyperRule(
        source.num_train, source.image_size, config.batch_size, config.base_lr, config.steps, config.resolution
    ).scaled(config.scale)
    if config.schedule == "hyperrule":
        return source, rule, rule.schedule
    return source, rule, upstream_schedule(rule.total_steps, rule.batch_size)


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

    It counts what the tensorflow backend keeps; `benchmarks/step_memory.py` holds it against measurements.

    Args:
        variant: the architecture.
        num_classes: outputs of the head.
        batch_size: images of an update.
        crop: side of the images in pixels.
        precision, accumulate, freeze, remat: as in `FinetuneConfig`.
    """
    stages = (*STAGES, "group_norm")
    last = {"none": -1, "head_only": len(STAGES)}.get(freeze)
    frozen = stages[: (stages.index(freeze) if last is None else last) + 1]
    frozen_keys = tuple(f"resnet/{stage}/" for stage in frozen)
    sizes = {key: math.prod(shape) for key, shape in weight_shapes(variant, num_classes).items()}
    trainable = sum(size for key, size in sizes.items() if not key.startswith(frozen_keys))
    copies = 3 if accumulate > 1 else 2  # gradient and momentum, and the sum of gradients
    weights = 4 * (sum(sizes.values()) + copies * trainable)

    held = peak = 0
    for stage, inside, output in _parts(variant, batch_size // accumulate, crop, _BYTES[precision]):
        peak = max(peak, held + inside + output)
        if stage in frozen:
            held = output
        else:
            held += output if remat else inside + output
    # The standardized kernel, and a gradient on its way to the kernel. Rematerialization was not seen to save them:
    # they do not depend on a unit's input, so nothing delays them.
    return Memory(weights, peak + 2 * _BYTES[precision] * trainable)


def _parts(variant: Variant, images: int, crop: int, size: int) -> Iterator[tuple[str, int, int]]:
    """Yields for the stem, for each unit and for the last norm its stage, and the bytes inside of it and of its output.

    Args:
        variant: the architecture.
        images: images at one time.
        crop: side of the images in pixels.
        size: bytes of a value in the precision of the convolutions.
    """

    def of_relu(channels: int, side: int) -> int:
        """Outputs of ReLU, of which the large ones are made again in the backward pass."""
        values = images * channels * side**2
        return 0 if values >= LARGE else size * values

    channels = variant.stem_filters
    side = -(-crop // 2)
    padded = 3 * (crop + 6) ** 2 + channels * (side + 2) ** 2
    side = -(-side // 2)
    yield "root_block", images * size * padded, images * size * channels * side**2
    for block, units in enumerate(variant.units, start=1):
        filters = variant.bottleneck_filters(block)
        for unit in range(units):
            before = side
            is_strided = unit == 0 and block > 1
            side = -(-side // 2) if is_strided else side
            normalized = of_relu(channels, before) + of_relu(filters, before) + of_relu(filters, side)
            convolved = before**2 * filters + side**2 * filters + (filters * (before + 2) ** 2 if is_strided else 0)
            channels = EXPANSION * filters
            inside = normalized + images * size * convolved
            yield f"block{block}", inside, images * size * channels * side**2
    yield "group_norm", of_relu(channels, side), 0


def describe(
    config: FinetuneConfig,
    source: data.Source,
    rule: HyperRule,
    schedule: Schedule,
    num_devices: int | None = 1,
) -> str:
    """Returns a page of text: model, data, rule, schedule and memory of a run.

    Args:
        config: of the run.
        source: its data.
        rule, schedule: what the run would follow.
        num_devices: of all workers together, which share a batch; None where it is not known yet.
    """
    row = _variant(config)
    memory = estimate_memory(
        row,
        source.num_classes,
        config.batch_size // (num_devices or 1),
        rule.crop,
        config.precision,
        config.accumulate,
        config.freeze,
        config.remat,
    )
    rates = [(0, schedule.warmup_steps, "rises from 0 to", schedule.base_lr)]
    supports = [schedule.warmup_steps, *(step + 1 for step in schedule.drop_steps), schedule.total_steps]
    for begin, end in itertools.pairwise(supports):
        if begin < end:  # the last drop of a very short schedule comes after its end
            rates.append((begin, end, "", schedule.learning_rate(begin)))
    parameters = row.parameters + (source.num_classes - 1000) * (row.num_features + 1)
    lines = [
        f"model      {config.model}: {row.name}, {parameters:,} weights with a head of {source.num_classes} classes",
        f"trained    {'all' if config.freeze == 'none' else config.freeze}, in {config.precision}",
        f"data       {source.name}: {source.num_train:,} training and {source.num_test:,} test examples, "
        f"{source.image_size[0]}x{source.image_size[1]} pixels",
        f"images     resized to {rule.resize}, cropped to {rule.crop}; evaluated at {rule.crop}",
        f"batch      {config.batch_size} images" + (f" in {config.accumulate} parts" if config.accumulate > 1 else ""),
        f"devices    {_devices(config, num_devices)}",
        f"MixUp      {rule.mixup_alpha if config.schedule == 'hyperrule' and rule.mixup_alpha else 'none'}",
        f"length     {schedule.total_steps:,} updates, {schedule.total_steps * config.batch_size:,} images",
        *(
            f"{'rate' if not n else '':<11}updates {begin:,} to {end - 1:,}: {word}{' ' if word else ''}{rate:.3g}"
            for n, (begin, end, word, rate) in enumerate(rates)
        ),
        f"memory     about {_bytes(memory.weights)} for weights, gradients and momentum, "
        f"{_bytes(memory.activations)} for activations"
        + (" of a device" if num_devices != 1 else "")
        + (", computed twice" if config.remat else ""),
    ]
    return "\n".join(lines)


def _devices(config: FinetuneConfig, number: int | None) -> str:
    if config.distribute == "none":
        return "1"
    return f"{number or 'those of the TPU'} ({config.distribute})"


def _variant(config: FinetuneConfig) -> Variant:
    """Architecture of the run; a published one is known without its file."""
    if config.model in VARIANTS:
        return VARIANTS[config.model]
    if config.model in PRESETS:
        return VARIANTS[PRESETS[config.model].variant]
    path, variant = checkpoints.locate(config.model, config.variant)
    shapes = checkpoints.shapes_of(checkpoints.read_weights(path))
    return VARIANTS[checkpoints.resolve_variant(path, shapes, variant)]


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
