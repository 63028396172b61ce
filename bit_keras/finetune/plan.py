"""Describes what a run would do, without doing it."""

from bit_keras import data
from bit_keras.finetune.config import FinetuneConfig
from bit_keras.network.memory import estimate_memory
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.rules.schedules import Schedule, upstream_schedule
from bit_keras.runs.description import describe_devices, describe_memory, describe_rates, variant_of
from bit_keras.runs.opening import open_source


def task(config: FinetuneConfig, dataset: str | data.Source) -> tuple[data.Source, HyperRule, Schedule]:
    """Returns the data, the rule and the schedule of a run."""
    source = open_source(config, dataset)
    source.check_one_label("fine-tuning")
    if config.examples_per_class:
        source = source.few_shot(config.examples_per_class, config.seed)
    rule = HyperRule(
        source.num_train, source.image_size, config.batch_size, config.base_lr, config.steps, config.resolution
    ).scaled(config.scale)
    if config.resize is not None and config.resize < rule.crop:
        raise ValueError(f"resize must be at least the {rule.crop} pixels of the crop, got {config.resize}")
    if config.schedule == "hyperrule":
        return source, rule, rule.schedule
    return source, rule, upstream_schedule(rule.total_steps, rule.batch_size)


def describe(
    config: FinetuneConfig,
    source: data.Source,
    rule: HyperRule,
    schedule: Schedule,
    num_devices: int | None = 1,
) -> str:
    """Returns a text that describes a run: model, data, rule, schedule and memory.

    Args:
        config: settings of the run.
        source, rule, schedule: as returned by `task`.
        num_devices: number of devices of all workers together; None if not known yet.
    """
    row = variant_of(config.model, config.variant)
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
    parameters = row.parameters + (source.num_classes - 1000) * (row.num_features + 1)
    lines = [
        f"model      {config.model}: {row.name}, {parameters:,} weights with a head of {source.num_classes} classes",
        f"trained    {'all' if config.freeze == 'none' else config.freeze}, in {config.precision}",
        f"data       {source.name}: {source.describe_splits()}, {source.image_size[0]}x{source.image_size[1]} pixels",
        f"images     resized to {config.resize or rule.resize}, cropped to {rule.crop}; evaluated at {rule.crop}",
        f"batch      {config.batch_size} images"
        + (f" in {config.accumulate} micro-batches" if config.accumulate > 1 else ""),
        f"devices    {describe_devices(config, num_devices)}",
        f"MixUp      {rule.mixup_alpha if config.schedule == 'hyperrule' and rule.mixup_alpha else 'none'}",
        f"length     {schedule.total_steps:,} updates, {schedule.total_steps * config.batch_size:,} images",
        *describe_rates(schedule),
        f"memory     {describe_memory(memory, num_devices)}"
        + (", recomputed in the backward pass" if config.remat else ""),
    ]
    return "\n".join(lines)
