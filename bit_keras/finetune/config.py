"""What a fine-tuning run is told."""

import dataclasses

from bit_keras.hyperrule import SCALES
from bit_keras.training import FREEZES


def _option(default, text: str):
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Settings of one run; each field is a flag of `python -m bit_keras.finetune`, its text the flag's help.

    Raises:
        ValueError: a setting is out of its range.
    """

    model: str = _option(
        "", "Preset (see bit_keras.list_presets()), npz file or address, or variant for random weights."
    )
    dataset: str = _option(
        "", '"digits", a TFDS name such as "cifar10", a folder of class folders, or a CSV file "path,label[,split]".'
    )
    workdir: str = _option("", "Folder of the run: config.json, metrics.csv, weights.npz, report/ and more.")
    variant: str | None = _option(None, "Architecture in the weight file, where --model is a file or an address.")
    data_dir: str | None = _option(None, "Folder of the TFDS data sets; TFDS's own default where not given.")
    skip_unreadable: bool = _option(False, "Leave out image files that cannot be read, instead of stopping.")
    examples_per_class: int | None = _option(None, "Train on that many examples of each class; all where not given.")
    seed: int = _option(0, "Of order, augmentation, MixUp, few-shot choice and random weights, in [0, 2**31).")
    small_batch: bool = _option(False, "The official code's choice for small devices: 128 images, learning rate 0.001.")
    batch_size: int | None = _option(None, "Images per update; 512 where not given.")
    base_lr: float | None = _option(None, "Learning rate after the warm-up, not of the upstream schedule; 0.003.")
    scale: str = _option("none", 'For other batches than 512: "none", "linear" learning rate, or "schedule" length.')
    accumulate: int = _option(1, "Parts of a batch whose gradients are summed up for one update, to save memory.")
    freeze: str = _option("none", '"head_only", or the last stage that is frozen: "root_block", "block1" to "block4".')
    schedule: str = _option("hyperrule", '"hyperrule", or "upstream" to train from random weights.')
    steps: int | None = _option(None, "Updates of the whole training; the HyperRule's where not given.")
    resolution: int | None = _option(None, "Side of the training crop in pixels; the HyperRule's where not given.")
    random_crop: bool = _option(True, "Crop at random places; off where the place is the label.")
    flip: bool = _option(True, "Mirror half of the training images; off where that changes the label.")
    precision: str = _option("float32", '"float32", "mixed_bfloat16" or "mixed_float16".')
    eval_every: int | None = _option(None, "Updates between evaluations; a tenth of all where not given.")
    checkpoint_every: int | None = _option(None, "Updates between checkpoints; at evaluations alone where not given.")
    deterministic: bool = _option(False, "Repeatable to the bit on the same machine; may be slower on a GPU.")
    export_dir: str | None = _option(None, "Write a reusable SavedModel to this new folder at the end.")

    def __post_init__(self):
        defaults = {"batch_size": 128, "base_lr": 0.001} if self.small_batch else {"batch_size": 512, "base_lr": 0.003}
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)  # frozen
        for name in ("model", "dataset", "workdir"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must lie in [0, 2**31), got {self.seed}")
        for name in ("examples_per_class", "eval_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        if self.accumulate < 1 or self.batch_size % self.accumulate:
            raise ValueError(f"accumulate must divide the batch size {self.batch_size}, got {self.accumulate}")
        _check_choice("scale", self.scale, SCALES)
        _check_choice("freeze", self.freeze, FREEZES)
        _check_choice("schedule", self.schedule, ("hyperrule", "upstream"))
        _check_choice("precision", self.precision, ("float32", "mixed_bfloat16", "mixed_float16"))


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
