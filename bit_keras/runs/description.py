"""What the plans of trainings say alike: devices, learning rates, sizes, architecture."""

import itertools

from bit_keras import checkpoints
from bit_keras.network.memory import Memory
from bit_keras.rules.schedules import Schedule
from bit_keras.runs.config import TrainingConfig
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import VARIANTS, Variant


def describe_rates(schedule: Schedule) -> list[str]:
    """Returns a line for the warm-up, and one per span of constant learning rate."""
    spans = [f"updates 0 to {schedule.warmup_steps - 1:,}: rises from 0 to {schedule.base_lr:.3g}"]
    supports = [schedule.warmup_steps, *(step + 1 for step in schedule.drop_steps), schedule.total_steps]
    for begin, end in itertools.pairwise(supports):
        if begin < end:  # the last drop of a very short schedule comes after its end
            spans.append(f"updates {begin:,} to {end - 1:,}: {schedule.learning_rate(begin):.3g}")
    return [f"{'' if n else 'rate':<11}{span}" for n, span in enumerate(spans)]


def describe_devices(config: TrainingConfig, number: int | None) -> str:
    """Returns the number of devices; None is that of a TPU, which is not known yet."""
    if config.distribute == "none":
        return "1"
    return f"{number or 'those of the TPU'} ({config.distribute})"


def variant_of(model: str, variant: str | None = None) -> Variant:
    """Returns the architecture of a run; that of published weights is known without their file.

    Args:
        model, variant: settings of the run.
    """
    if model in VARIANTS:
        return VARIANTS[model]
    if model in PRESETS:
        return VARIANTS[PRESETS[model].variant]
    path, variant = checkpoints.locate(model, variant)
    shapes = checkpoints.shapes_of(checkpoints.read_weights(path))
    return VARIANTS[checkpoints.resolve_variant(path, shapes, variant)]


def describe_memory(memory: Memory, num_devices: int | None) -> str:
    """Returns an estimate of memory as a text."""
    per_device = " per device" if num_devices != 1 else ""
    return (
        f"about {_in_bytes(memory.weights)} for weights, gradients and momentum, "
        f"{_in_bytes(memory.activations)} for activations{per_device}"
    )


def _in_bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
