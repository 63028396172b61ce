"""Describes what the training of a detector would do, without doing it."""

from bit_keras.detection.data.annotations import DetectionSource
from bit_keras.detection.network.memory import estimate_detector_memory
from bit_keras.detection.training.config import TrainConfig
from bit_keras.rules.schedules import Schedule
from bit_keras.runs.description import describe_devices, describe_memory, describe_rates
from bit_keras.zoo.variants import Variant


def describe(
    config: TrainConfig,
    source: DetectionSource,
    schedule: Schedule,
    row: Variant,
    sizes: tuple[int, int],
    num_devices: int | None = 1,
) -> str:
    """Returns a text that describes a run: model, data, schedule and memory.

    Args:
        config: settings of the run.
        source, schedule: its data and the learning rate.
        row: architecture of the backbone.
        sizes: width and depth of the detector.
        num_devices: number of devices of all workers together; None if not known yet.
    """
    width, depth = sizes
    memory = estimate_detector_memory(
        row,
        source.num_classes,
        config.batch_size // (num_devices or 1),
        config.resolution,
        config.precision,
        config.accumulate,
        config.freeze,
        config.remat,
        width,
        depth,
        config.max_boxes,
    )
    batch = f" in {config.accumulate} micro-batches" if config.accumulate > 1 else ""
    lines = [
        f"model      {config.model}: RetinaNet on {row.name}, {depth} x {width} channels in each head, "
        f"{source.num_classes} classes",
        f"trained    {'all' if config.freeze == 'none' else f'all after {config.freeze}'}, in {config.precision}",
        f"data       {source.name}: {source.describe_splits()}, {source.train.num_boxes:,} training boxes",
        f"images     scaled by {config.min_scale:g} to {config.max_scale:g} of {config.resolution} pixels, in squares "
        f"of {config.resolution}; evaluated at {config.resolution}",
        f"batch      {config.batch_size} images{batch}",
        f"devices    {describe_devices(config, num_devices)}",
        f"length     {schedule.total_steps:,} updates, "
        f"{schedule.total_steps * config.batch_size / source.num_train:.1f} passes over the training images",
        *describe_rates(schedule),
        f"memory     {describe_memory(memory, num_devices)}"
        + (", recomputed in the backward pass of the backbone" if config.remat else ""),
    ]
    return "\n".join(lines)
