"""Settings of the runs of an evaluation: those of fine-tuning, and optionally the resolutions of the paper."""

import dataclasses
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from absl import flags

from bit_keras import data
from bit_keras.distribution import has_other_workers
from bit_keras.finetune import FinetuneConfig, finetune
from bit_keras.protocols.resolution import RULES, sizes
from bit_keras.protocols.sweep import Run
from bit_keras.runs import program
from bit_keras.runs.description import variant_of
from bit_keras.runs.opening import make_config, open_source
from bit_keras.runs.series import SET_BY_SERIES
from bit_keras.system.checks import check_choice

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(FinetuneConfig)}
ALLOWED = tuple(name for name in _DEFAULTS if name not in SET_BY_SERIES)  # options of an evaluation


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of all runs of an evaluation, checked by `settings`.

    Attributes:
        configs: {model: its configuration}.
        options: of `bit_keras.finetune`.
        resolution_rule: see `resolution.sizes`.
    """

    configs: dict[str, FinetuneConfig]
    options: dict
    resolution_rule: str

    @property
    def changed(self) -> dict:
        """The options that do not have their default."""
        return {name: value for name, value in self.options.items() if value != _DEFAULTS[name]}

    @property
    def together(self) -> bool:
        """Whether several processes train each network together."""
        return has_other_workers(self.options.get("distribute", "none"))

    def open(self, name: str) -> data.Source:
        """Returns data without a validation split: no weights are chosen, only the last ones are measured."""
        config = next(iter(self.configs.values()))
        return open_source(dataclasses.replace(config, dataset=name), name).without_validation()

    def finetune(self, run: Run, source: data.Source, place: Path) -> dict:
        """Makes a run in a folder, with a new head; returns the content of its summary.json."""
        chosen = {}
        if self.resolution_rule != "official":  # reads the variant of a weight file
            config = self.configs[run.model]
            chosen = sizes(self.resolution_rule, variant_of(config.model, config.variant).name, source.image_size)
        result = finetune(run.model, source, place / "run", seed=run.seed, new_head=True, **self.options, **chosen)
        return result.summary


def settings(
    models: Sequence[str], dataset: str, workdir: str | os.PathLike, options: dict, resolution_rule: str
) -> Settings:
    """Returns the settings of all runs, after checking them; options that are None are left out.

    Raises:
        TypeError, ValueError, OSError, ImportError: as `make_config`.
    """
    check_choice("resolution_rule", resolution_rule, RULES)
    options = {name: value for name, value in options.items() if value is not None}
    if resolution_rule != "official" and {"resolution", "resize"} & options.keys():
        raise ValueError(f"resolution_rule={resolution_rule!r} sets resolution and resize: give either it or them")
    configs = {model: make_config(FinetuneConfig, model, dataset, workdir, options) for model in models}
    return Settings(configs, options, resolution_rule)


def define_flags(options: Collection[str]) -> None:
    """Defines the flags of these options, and --resolution_rule."""
    program.define_flags(FinetuneConfig, options)
    flags.DEFINE_enum(
        "resolution_rule",
        "official",
        RULES,
        "Pixels of images of 96x96 or more: 480 as in the official code, or 384 as in the paper (R152x4: 480). Smaller "
        "ones have 128.",
    )


def values(options: Collection[str]) -> dict:
    """Returns {option or "resolution_rule": value} of the flags."""
    return {**program.values(FinetuneConfig, options), "resolution_rule": flags.FLAGS.resolution_rule}
