"""Settings common to all runs."""

import dataclasses

import keras

from bit_keras.checkpoints import locate, provenance
from bit_keras.data import LOADERS, Source
from bit_keras.data.source import check_share
from bit_keras.distribution import DISTRIBUTIONS
from bit_keras.system.checks import check_choice, check_integer, check_kind
from bit_keras.system.paths import expanded
from bit_keras.zoo.fits import FITS
from bit_keras.zoo.precisions import PRECISIONS
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import VARIANTS

# Settings for reading data, common to all programs that read any.
DATA_OPTIONS = ("data_dir", "manual_dir", "loader", "skip_unreadable", "image_column", "label_column")
LOAD_OPTIONS = tuple(name for name in DATA_OPTIONS if name != "loader")  # arguments of `bit_keras.data.load`
# Settings that may change between restarts: they do not affect the result beyond rounding. Data are identified by their
# fingerprint, not by their name or location.
_FREE = (
    *("workdir", "dataset", "data_dir", "manual_dir", "image_column", "label_column"),
    *("checkpoint_every", "distribute", "remat"),
)

# Settings that are or may be paths.
_PATHS = ("model", "teacher", "dataset", "workdir", "data_dir", "manual_dir", "export_dir")

# Numbers of 1 or more, where a configuration has them.
_COUNTS = ("batch_size", "eval_every", "checkpoint_every", "steps", "resolution", "resize", "examples_per_class")

# {title: names of settings}: the sections of `--help` in all training programs.
GROUPS = {
    "model": ("model", "models", "variant", "teacher", "temperature", "new_head", "freeze"),
    "data": (
        *("dataset", "datasets", *DATA_OPTIONS, "validation", "examples_per_class", "shots", "seeds"),
        *("match_classes", "resolution", "resize", "fit", "flip", "random_crop", "min_area"),
    ),
    "training": (
        *("steps", "epochs", "batch_size", "small_batch", "base_lr", "scale", "schedule", "loss", "weight_decay"),
        *("mixup_alpha", "seed", "deterministic"),
    ),
    "memory and devices": ("accumulate", "remat", "precision", "distribute"),
    "results": ("workdir", "export_dir", "eval_every", "checkpoint_every"),
}


def option(default, text: str):
    """Returns the dataclass field of a setting, which is also a flag; `text` is the flag's help."""
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Settings of any training; each field is a flag of the run's program.

    Raises:
        ValueError: a setting is out of its range.
        TypeError: a setting has the wrong type.
    """

    model: str = option("", "Variant.")
    dataset: str = option(
        "",
        '"digits", a TFDS name such as "cifar10" or "cifar10[:80%]", a folder of class folders or of TFRecord files, a '
        'CSV file "path,label[,split][,group]", or an npz file of arrays.',
    )
    workdir: str = option("", "Folder of the run: config.json, metrics.csv, weights.npz, report/ and more.")
    data_dir: str | None = option(None, "Folder of the TFDS data sets; TFDS's own default if not given.")
    manual_dir: str | None = option(None, "Folder of the archives that TFDS cannot download, such as ImageNet's.")
    skip_unreadable: bool = option(False, "Leave out images that cannot be read, instead of stopping.")
    validation: float | None = option(
        None,
        "Share of the training images, in [0, 1), to hold out for choosing best.npz, if the data have no validation "
        "split; the same images for every --seed. If not given, the test images choose best.npz then.",
    )
    seed: int = option(0, "Seed of order, augmentation, MixUp and random weights, in [0, 2**31).")
    batch_size: int = option(512, "Images per update.")
    accumulate: int = option(1, "Micro-batches per update, whose gradients are accumulated to save memory.")
    remat: bool = option(False, "Recompute activations in the backward pass: less memory, more time.")
    flip: bool = option(True, "Mirror half of the training images; turn off if that changes the label.")
    precision: str = option("float32", '"float32", "mixed_bfloat16" or "mixed_float16".')
    eval_every: int | None = option(None, "Updates between evaluations; a tenth of all updates if not given.")
    checkpoint_every: int | None = option(None, "Updates between checkpoints; if not given, only at evaluations.")
    distribute: str = option(
        "none", 'Several devices: "mirrored", "multi_worker", "tpu" (tensorflow) or "data_parallel" (jax).'
    )
    deterministic: bool = option(
        False, "Bit-identical results on the same machine; may be slower on a GPU. Lasts until the process ends."
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = check_kind(field.name, getattr(self, field.name), field.type)
            if field.name in _PATHS and value is not None:
                if not value.strip():
                    raise ValueError(f"{field.name} must be given, got {value!r}")
                value = expanded(value)
            object.__setattr__(self, field.name, value)  # frozen
        if self.validation is not None:
            check_share(self.validation)
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must lie in [0, 2**31), got {self.seed}")
        for name in _COUNTS:
            if getattr(self, name, None) is not None:
                check_integer(name, getattr(self, name))
        if self.accumulate < 1 or self.batch_size % self.accumulate:
            raise ValueError(f"accumulate must divide the batch size {self.batch_size}, got {self.accumulate}")
        check_choice("distribute", self.distribute, tuple(DISTRIBUTIONS))
        check_choice("precision", self.precision, PRECISIONS)

    @property
    def micro_batch_size(self) -> int:
        """Images per step of the optimizer; an update takes `accumulate` steps."""
        return self.batch_size // self.accumulate

    def settings(self) -> dict:
        """Returns the settings that affect the results of the run beyond rounding; JSON-able.

        What they name, data and weights, is identified by its content only in `identity`.
        """
        settings = {name: value for name, value in dataclasses.asdict(self).items() if name not in _FREE}
        if not self.validation:  # not recorded by earlier versions, whose runs still resume
            del settings["validation"]
        return {**settings, "backend": keras.backend.backend()}

    def weights(self) -> dict[str, str]:
        """Returns {setting: its value} of the settings that name weights."""
        return {"model": self.model}

    def identity(self, source: Source, mixup_parts: int = 1) -> dict:
        """Returns everything that affects the results of the run beyond rounding; JSON-able.

        Weights at an address are downloaded.

        Args:
            source: data of the run.
            mixup_parts: of the distribution; 1 if the run does not use MixUp.

        Raises:
            ValueError, OSError: as `fingerprint`.
        """
        settings = self.settings()
        if mixup_parts > 1:
            settings["mixup_parts"] = mixup_parts
        contents = {name: fingerprint(model) for name, model in self.weights().items()}
        if any(contents.values()):
            settings["weights"] = {name: content for name, content in contents.items() if content}
        return {**settings, "data": source.describe()}


@dataclasses.dataclass(frozen=True)
class RunConfig(TrainingConfig):
    """Settings of the training of a classifier; each field is a flag of the run's program.

    Raises:
        ValueError: a setting is out of its range.
        TypeError: a setting has the wrong type.
    """

    loader: str | None = option(
        None, '"tf.data", or "grain" without TensorFlow; if not given, the first of them that is installed.'
    )
    image_column: str | None = option(
        None, "Column of a CSV file, or feature of TFRecord files or TFDS, with the images; else the usual names."
    )
    label_column: str | None = option(None, "As --image_column, with the labels.")
    fit: str = option(
        "squash", f"How an image becomes a square: {'; '.join(f'{name}, {text}' for name, text in FITS.items())}."
    )

    def __post_init__(self):
        super().__post_init__()
        check_choice("loader", self.loader, (None, *LOADERS))
        check_choice("fit", self.fit, tuple(FITS))

    def settings(self) -> dict:
        """Returns the settings that affect the results of the run beyond rounding; JSON-able."""
        settings = super().settings()
        if self.fit == "squash":  # not recorded by earlier versions, whose runs still resume
            del settings["fit"]
        return settings


def fingerprint(model: str) -> str | None:
    """Returns the hash of weights, which are downloaded from an address; None for presets and variants.

    Raises:
        ValueError, OSError: as `checkpoints.locate`, for example for a file that does not exist.
    """
    if model in VARIANTS or model in PRESETS:
        return None
    return provenance.fingerprint(locate(model)[0])
