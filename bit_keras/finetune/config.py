"""Settings of fine-tuning."""

import dataclasses

from bit_keras.network.freezing import FREEZES
from bit_keras.rules.hyperrule import SCALES
from bit_keras.runs.config import RunConfig, option
from bit_keras.system.checks import check_choice, check_kind
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import VARIANTS, get_variant


def check_variant(model: str, variant: str) -> None:
    """Raises ValueError if a variant does not exist, or is not that of a named model."""
    get_variant(variant)
    known = PRESETS[model].variant if model in PRESETS else model if model in VARIANTS else variant
    if variant != known:
        raise ValueError(f"{model} is variant {known}, got variant={variant!r}")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(RunConfig):
    """Settings of one run; each field is a flag of `python -m bit_keras.finetune`, its text the flag's help.

    Raises:
        ValueError: a setting is out of its range.
        TypeError: a setting has the wrong type.

    Example:
        >>> from bit_keras.finetune import FinetuneConfig
        >>> run = {"model": "BiT-M-R50x1", "dataset": "cifar10", "workdir": "runs/cifar10"}
        >>> config = FinetuneConfig(**run, small_batch=True)
        >>> config.batch_size, config.base_lr, config.schedule
        (128, 0.001, 'hyperrule')
        >>> try:
        ...     FinetuneConfig(**run, accumulate=3)
        ... except ValueError as error:
        ...     print(error)
        accumulate must divide the batch size 512, got 3
    """

    model: str = option(
        "",
        "Preset (see bit_keras.list_presets()), npz file or address, or variant for random weights. The head of "
        "weights from an earlier run is kept if its classes are those of the data; else the head is new.",
    )
    new_head: bool = option(False, "Start with a new head even if that of the weights is for the same classes.")
    variant: str | None = option(None, "Architecture in the weight file, if --model is a file or an address.")
    examples_per_class: int | None = option(None, "Training examples per class; all if not given.")
    seed: int = option(0, "Seed of order, augmentation, MixUp, few-shot draw and random weights, in [0, 2**31).")
    small_batch: bool = option(False, "The official code's choice for small devices: 128 images, learning rate 0.001.")
    batch_size: int | None = option(None, "Images per update; 512 if not given.")
    base_lr: float | None = option(
        None, "Learning rate after the warm-up, 0.003 if not given; not used by the upstream schedule."
    )
    scale: str = option(
        "none", 'What to adapt to other batch sizes than 512: "none", "linear" (learning rate), "schedule" (length).'
    )
    freeze: str = option("none", '"none", "head_only", or the last frozen stage: "root_block", "block1" to "block4".')
    schedule: str = option("hyperrule", '"hyperrule", or "upstream" to train from random weights.')
    steps: int | None = option(None, "Updates of the whole training; the HyperRule's if not given.")
    resolution: int | None = option(None, "Side of the training crop in pixels; the HyperRule's if not given.")
    resize: int | None = option(
        None,
        "Side in pixels that training images are resized to before the crop; in the HyperRule's ratio if not given.",
    )
    random_crop: bool = option(True, "Crop at random positions; turn off if the position is the label.")
    export_dir: str | None = option(None, "Write a reusable SavedModel to this new folder at the end.")

    def __post_init__(self):
        check_kind("small_batch", self.small_batch, bool)
        defaults = {"batch_size": 128, "base_lr": 0.001} if self.small_batch else {"batch_size": 512, "base_lr": 0.003}
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)  # frozen
        super().__post_init__()
        if self.variant is not None:
            check_variant(self.model, self.variant)
        check_choice("scale", self.scale, SCALES)
        check_choice("freeze", self.freeze, FREEZES)
        check_choice("schedule", self.schedule, ("hyperrule", "upstream"))

    def settings(self) -> dict:
        """Returns the settings that affect the results of the run beyond rounding; JSON-able."""
        settings = super().settings()
        for name in ("export_dir", "small_batch"):  # small_batch only sets batch_size and base_lr
            del settings[name]
        for name in ("new_head", "resize"):  # not recorded by earlier versions, whose runs still resume
            if not getattr(self, name):
                del settings[name]
        return settings
