"""Program: the standard benchmarks of the paper, fine-tuning by the HyperRule on all training images.

Every run has its own folder, so an interrupted evaluation resumes without repeating finished runs. Several machines
with a common workdir divide the runs by --shard or --datasets. Data of your own take part with their own splits.

Examples:
    python -m bit_keras.protocols standard --models=BiT-M-R50x1 --datasets=cifar10,cifar100 --runs=3 --workdir=standard
    python -m bit_keras.protocols standard --models=BiT-M-R50x1 --splits=paper --resolution_rule=paper --workdir=paper
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from bit_keras import data
from bit_keras.figures import drawing
from bit_keras.finetune import FinetuneConfig, finetune
from bit_keras.finetune.plan import variant_of
from bit_keras.protocols import resolution as resolutions
from bit_keras.protocols import tables
from bit_keras.protocols.sweep import RUNS, Run, define_sweep_flags, parsed_shard, shown, sweep, without_none
from bit_keras.runs import program
from bit_keras.runs.config import DATA_OPTIONS
from bit_keras.runs.names import display_names
from bit_keras.runs.opening import make_config, open_source
from bit_keras.runs.series import SET_BY_SERIES, each_once
from bit_keras.runs.workdir import PLACES
from bit_keras.system.checks import check_choice, known_arguments
from bit_keras.system.files import write_lines
from bit_keras.system.logs import shows_messages
from bit_keras.system.paths import check_folder
from bit_keras.system.texts import cell

# {data set: slice of its training split}. Source: google-research/big_transfer, `input_pipeline_tf2_or_jax.py`, which
# has no splits of Pets and Flowers. The paper and the official PyTorch code train on all training images.
_OFFICIAL_SLICES = {
    "imagenet2012": "[:99%]",
    "cifar10": "[:98%]",
    "cifar100": "[:98%]",
    "oxford_iiit_pet": "",
    "oxford_flowers102": "",
}
DATASETS = tuple(_OFFICIAL_SLICES)
SPLITS = ("official", "paper")
METRICS = {
    "accuracy": "test_accuracy",
    "mean_per_class_accuracy": "mean_per_class_accuracy",
}  # {metric: in the records}
_NOT_RESULTS = (*PLACES, "checkpoint_every", "distribute", "remat")  # options that change no result beyond rounding
OPTIONS = (
    *DATA_OPTIONS,
    *("steps", "batch_size", "small_batch", "base_lr", "resolution", "resize", "fit", "flip", "eval_every"),
    *("checkpoint_every", "accumulate", "precision", "remat", "distribute"),
)


@known_arguments(
    (field.name for field in dataclasses.fields(FinetuneConfig) if field.name not in SET_BY_SERIES),
    unchecked=("models", "datasets"),
)
@shows_messages
def standard(
    models: Sequence[str | os.PathLike],
    workdir: str | os.PathLike,
    datasets: Sequence[str | os.PathLike] = DATASETS,
    *,
    runs: int = RUNS,
    shard: tuple[int, int] = (0, 1),
    splits: str = "official",
    resolution_rule: str = "official",
    metric: str = "accuracy",
    verbose: bool = True,
    **options,
) -> list[dict]:
    """Fine-tunes models on data sets and writes standard.json, standard.md and standard.png.

    The table has the median and the standard deviation over the runs, and the published accuracies. A finished run is
    not repeated, unless the content of its weight file or its data has changed. If a run fails, the others are still
    made.

    Args:
        models: presets, weight files or variants for random weights. All get a new head.
        workdir: folder of the evaluation; several processes may share it.
        datasets: those of the paper, or other data as `bit_keras.data.load` takes them.
        runs: number of runs, whose seeds count from 0.
        shard: (index, count): this process makes only every count-th run, beginning with that of this index.
        splits: "official" trains on the images that the official TensorFlow and Jax code trains on: 98 % of CIFAR, 99 %
            of ILSVRC-2012; "paper" on all training images. A slice of your own is part of the name of the data, such as
            "cifar10[:90%]".
        resolution_rule: "official" or "paper", see `bit_keras.protocols.resolution.sizes`.
        metric: "accuracy", of all test images, which is the published one, or "mean_per_class_accuracy". Both are
            recorded.
        verbose: False shows only warnings.
        **options: of `bit_keras.finetune`, for example `small_batch`.

    Returns:
        A record for each finished run, of this and of other processes: "model", "task", "seed", "test_accuracy" and
        "mean_per_class_accuracy", in [0, 1].

    Raises:
        ValueError: a setting is out of its range.
        TypeError: an option does not exist, or an argument has the wrong type.
        FileExistsError: `workdir` belongs to an evaluation with different options.
        bit_keras.protocols.sweep.Failed: some runs have failed; the message lists their reasons.
        TrainingInterrupted, KeyboardInterrupt: a signal arrived. The same call resumes from the records.
    """
    workdir, datasets = check_folder("workdir", workdir), each_once("datasets", datasets, str)
    check_choice("splits", splits, SPLITS)
    check_choice("resolution_rule", resolution_rule, resolutions.RULES)
    check_choice("metric", metric, tuple(METRICS))
    options = without_none(options)
    if resolution_rule != "official" and {"resolution", "resize"} & options.keys():
        raise ValueError(f"resolution_rule={resolution_rule!r} sets resolution and resize: give either it or them")
    cells = sweep("standard", models, datasets, runs, shard)
    configs = {model: make_config(FinetuneConfig, model, datasets[0], workdir, options) for model in cells.models}
    rules = {"splits": splits, "resolution_rule": resolution_rule}
    return cells.run(
        workdir,
        {**_affecting(options), **{name: value for name, value in rules.items() if value != "official"}},
        functools.partial(_open, configs[cells.models[0]], splits),
        functools.partial(_measure, configs, resolution_rule, options),
        functools.partial(_write, cells.models, datasets, metric, rules),
    )


def _affecting(options: dict) -> dict:
    """Returns the options that affect the results, unless they have their default."""
    defaults = {field.name: field.default for field in dataclasses.fields(FinetuneConfig)}
    return {name: value for name, value in options.items() if value != defaults[name] and name not in _NOT_RESULTS}


def _open(config: FinetuneConfig, splits: str, dataset: str) -> data.Source:
    name = dataset + (_OFFICIAL_SLICES.get(dataset, "") if splits == "official" else "")
    # No weights are chosen: only the last ones are measured.
    return open_source(dataclasses.replace(config, dataset=name), name).without_validation()


def _measure(
    configs: dict[str, FinetuneConfig], rule: str, options: dict, run: Run, source: data.Source, place: Path
) -> dict:
    sizes = (
        {} if rule == "official" else resolutions.sizes(rule, variant_of(configs[run.model]).name, source.image_size)
    )
    result = finetune(run.model, source, place / "run", seed=run.seed, new_head=True, **options, **sizes)
    return {name: result.summary[name] for name in METRICS.values()}


def _write(
    models: Sequence[str], datasets: Sequence[str], metric: str, rules: dict, folder: Path, records: list[dict]
) -> None:
    shown_records = [{**record, "test_accuracy": record[METRICS[metric]]} for record in records]
    names = display_names([*models, *datasets], cell)
    text = tables.comparison(shown_records, models, datasets, names, metric)
    settings = ", ".join(f"{name}={value}" for name, value in rules.items())
    write_lines(folder / "standard.md", [*text.splitlines(), "", f"measured with {settings}"])
    names = display_names([*models, *datasets], drawing.drawn)
    label = f"test {metric.replace('_', ' ')}"
    drawing.save_all(folder, {"standard": lambda: tables.plot(shown_records, models, datasets, names, label)})


def main() -> None:
    values = flags.FLAGS
    with shown(values.workdir, "standard"):
        standard(
            values.models,
            values.workdir,
            values.datasets,
            runs=values.runs,
            shard=parsed_shard(values.shard),
            splits=values.splits,
            resolution_rule=values.resolution_rule,
            metric=values.metric,
            **program.values(FinetuneConfig, OPTIONS),
        )


def define_flags() -> None:
    define_sweep_flags()
    flags.DEFINE_list("datasets", list(DATASETS), "Data sets of the paper, or data of your own.")
    flags.DEFINE_enum(
        "splits",
        "official",
        SPLITS,
        "Training images: those of the official TensorFlow and Jax code, which are 98 % of CIFAR and 99 % of "
        "ILSVRC-2012, or all, as in the paper.",
    )
    resolutions.define_resolution_rule()
    flags.DEFINE_enum("metric", "accuracy", tuple(METRICS), "What the table shows; published is the accuracy.")
    program.define_flags(FinetuneConfig, OPTIONS)
