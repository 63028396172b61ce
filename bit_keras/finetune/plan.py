"""What a run would do, said without doing it."""

import dataclasses
import itertools
import os
from pathlib import Path

from bit_keras import checkpoints, data
from bit_keras.files import whole
from bit_keras.finetune.config import FinetuneConfig
from bit_keras.hyperrule import HyperRule, Schedule
from bit_keras.upstream import upstream_schedule
from bit_keras.variants import EXPANSION, VARIANTS, Variant
from bit_keras.zoo import PRESETS

_BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}


@dataclasses.dataclass(frozen=True)
class Memory:
    """Estimated bytes of a training step.

    Attributes:
        weights: float32 weights, gradients and momentum.
        activations: what the backward pass needs of the forward pass, for one part of the batch.
    """

    weights: int
    activations: int


def task(config: FinetuneConfig, dataset: str | data.Source) -> tuple[data.Source, HyperRule, Schedule]:
    """Returns the data of a run, its rule, and the schedule that it follows."""
    source = dataset if isinstance(dataset, data.Source) else _load(config)
    if config.examples_per_class:
        source = source.few_shot(config.examples_per_class, config.seed)
    rule = HyperRule(
        source.num_train, source.image_size, config.batch_size, config.base_lr, config.steps, config.resolution
    ).scaled(config.scale)
    if config.schedule == "hyperrule":
        return source, rule, rule.schedule
    return source, rule, upstream_schedule(rule.total_steps, rule.batch_size)


def _load(config: FinetuneConfig) -> data.Source:
    try:
        return data.load(config.dataset, data_dir=config.data_dir, skip_unreadable=config.skip_unreadable)
    except data.DataError as error:
        if error.files:
            listing = Path(f"{config.workdir.rstrip(os.sep)}.unreadable.txt")  # the workdir itself is that of a run
            with whole(listing) as temporary:
                temporary.write_text("".join(f"{file}\n" for file in error.files), encoding="utf-8")
            raise data.DataError(f"{error}\nall of them: {listing}; --skip_unreadable leaves them out") from error
        raise


def estimate_memory(variant: Variant, num_classes: int, batch_size: int, crop: int, precision: str) -> Memory:
    """Estimates what a training step needs; libraries and their workspaces come on top.

    Every unit keeps its sum and, around each of its convolutions, the normalized input and the output.

    Args:
        variant: the architecture.
        num_classes: outputs of the head.
        batch_size: images at one time.
        crop: side of the images in pixels.
        precision: as in `FinetuneConfig`.
    """
    side = -(-crop // 4)
    values = (crop // 2) ** 2 * variant.stem_filters + side**2 * variant.stem_filters
    for block, units in enumerate(variant.units, start=1):
        side_before, side = side, side if block == 1 else -(-side // 2)
        filters = variant.bottleneck_filters(block)
        inputs = variant.stem_filters if block == 1 else EXPANSION * variant.bottleneck_filters(block - 1)
        for unit in range(units):
            is_first = unit == 0
            before, channels = (side_before, inputs) if is_first else (side, EXPANSION * filters)
            # a: normalized input, output; b: the same; c: normalized input, output; sum; the projection's output.
            values += before**2 * (channels + 2 * filters)
            values += side**2 * (2 * filters + (2 + is_first) * EXPANSION * filters)
    parameters = variant.parameters + (num_classes - 1000) * (variant.num_features + 1)
    return Memory(3 * 4 * parameters, values * batch_size * _BYTES[precision])


def describe(config: FinetuneConfig, source: data.Source, rule: HyperRule, schedule: Schedule) -> str:
    """Returns a page of text: model, data, rule, schedule and memory of a run.

    Args:
        config: of the run.
        source: its data.
        rule, schedule: what the run would follow.
    """
    row = _variant(config)
    part = config.batch_size // config.accumulate
    memory = estimate_memory(row, source.num_classes, part, rule.crop, config.precision)
    rates = [(0, schedule.warmup_steps, "rises from 0 to", schedule.base_lr)]
    supports = [schedule.warmup_steps, *(step + 1 for step in schedule.drop_steps), schedule.total_steps]
    for begin, end in itertools.pairwise(supports):
        rates.append((begin, end, "", schedule.learning_rate(begin)))
    parameters = row.parameters + (source.num_classes - 1000) * (row.num_features + 1)
    lines = [
        f"model      {config.model}: {row.name}, {parameters:,} weights with a head of {source.num_classes} classes",
        f"trained    {'all' if config.freeze == 'none' else config.freeze}, in {config.precision}",
        f"data       {source.name}: {source.num_train:,} training and {source.num_test:,} test examples, "
        f"{source.image_size[0]}x{source.image_size[1]} pixels",
        f"images     resized to {rule.resize}, cropped to {rule.crop}; evaluated at {rule.crop}",
        f"batch      {config.batch_size} images" + (f" in {config.accumulate} parts" if config.accumulate > 1 else ""),
        f"MixUp      {rule.mixup_alpha if config.schedule == 'hyperrule' and rule.mixup_alpha else 'none'}",
        f"length     {schedule.total_steps:,} updates, {schedule.total_steps * config.batch_size:,} images",
        *(
            f"{'rate' if not n else '':<11}updates {begin:,} to {end - 1:,}: {word}{' ' if word else ''}{rate:.3g}"
            for n, (begin, end, word, rate) in enumerate(rates)
        ),
        f"memory     about {_gigabytes(memory.weights)} for weights, gradients and momentum, "
        f"{_gigabytes(memory.activations)} for activations",
    ]
    return "\n".join(lines)


def _variant(config: FinetuneConfig) -> Variant:
    """Architecture of the run; a published one is known without its file."""
    if config.model in VARIANTS:
        return VARIANTS[config.model]
    if config.model in PRESETS:
        return VARIANTS[PRESETS[config.model].variant]
    path, variant = checkpoints.locate(config.model, config.variant)
    shapes = checkpoints.shapes_of(checkpoints.read_weights(path))
    return VARIANTS[checkpoints.resolve_variant(path, shapes, variant)]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
