"""Program: the standard benchmarks of the paper, fine-tuning by the HyperRule on all training images.

Every run has its own folder, so an interrupted evaluation resumes without repeating finished runs. Any number of
processes with a common workdir, on one or several machines, divide the runs of the same command. Data of your own
take part with their own splits.

Examples:
    python -m bit_keras.protocols standard --models=BiT-M-R50x1 --datasets=cifar10,cifar100 --runs=3 --workdir=standard
    python -m bit_keras.protocols standard --models=BiT-M-R50x1 --splits=paper --resolution_rule=paper --workdir=paper
"""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

from bit_keras import data
from bit_keras.protocols import tables
from bit_keras.protocols.settings import ALLOWED, Settings, settings, values
from bit_keras.protocols.settings import define_flags as settings_flags
from bit_keras.protocols.sweep import RUNS, Run, define_sweep_flags, parsed_shard, shown, sweep
from bit_keras.runs.config import DATA_OPTIONS
from bit_keras.runs.series import each_once
from bit_keras.runs.workdir import PLACES
from bit_keras.system.checks import check_choice, known_arguments
from bit_keras.system.logs import shows_messages
from bit_keras.system.paths import check_folder

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
# {metric: its name in the records}
METRICS = {"accuracy": "test_accuracy", "mean_per_class_accuracy": "mean_per_class_accuracy"}
_NOT_RESULTS = (*PLACES, "checkpoint_every", "distribute", "remat")  # options that change no result beyond rounding
OPTIONS = (
    *DATA_OPTIONS,
    *("steps", "batch_size", "small_batch", "base_lr", "resolution", "resize", "fit", "flip", "eval_every"),
    *("checkpoint_every", "accumulate", "precision", "remat", "distribute"),
)


@known_arguments(ALLOWED, unchecked=("models", "datasets"))
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
        workdir: folder of the evaluation. Several processes may share it: each takes runs that are free, and at the end
            waits for those of the others.
        datasets: those of the paper, or other data as `bit_keras.data.load` takes them.
        runs: number of runs, whose seeds count from 0.
        shard: (index, count): this process makes only every count-th run, beginning with that of this index.
        splits: "official" trains on the images that the official TensorFlow and Jax code trains on: 98 % of CIFAR, 99 %
            of ILSVRC-2012; "paper" on all training images. A slice of your own is part of the name of the data, such as
            "cifar10[:90%]".
        resolution_rule: "official" crops images of 96x96 pixels or more to 480 pixels, as the official code does;
            "paper" to 384, except for R152x4.
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

    Example:
        >>> from bit_keras.protocols.standard import standard
        >>> less = {"steps": 5, "eval_every": 5, "batch_size": 8, "resolution": 32}  # than in the paper
        >>> records = standard(["BiT-mini-R17x0.5"], "runs/standard", ["digits"], runs=1, verbose=False, **less)
        >>> [(record["model"], record["task"], record["seed"]) for record in records]
        [('BiT-mini-R17x0.5', 'digits', 0)]
    """
    workdir, datasets = check_folder("workdir", workdir), each_once("datasets", datasets, str)
    check_choice("splits", splits, SPLITS)
    check_choice("metric", metric, tuple(METRICS))
    cells = sweep("standard", models, datasets, runs, shard)
    chosen = settings(cells.models, datasets[0], workdir, options, resolution_rule)  # raises before anything is opened
    rules = {"splits": splits, "resolution_rule": resolution_rule}
    affecting = {name: value for name, value in chosen.changed.items() if name not in _NOT_RESULTS}
    return cells.run(
        workdir,
        affecting | {name: rule for name, rule in rules.items() if rule != "official"},
        functools.partial(_open, chosen, splits),
        functools.partial(_measure, chosen),
        functools.partial(_write, cells.models, datasets, metric, rules),
        chosen.together,
    )


def _open(chosen: Settings, splits: str, dataset: str) -> data.Source:
    return chosen.open(dataset + (_OFFICIAL_SLICES.get(dataset, "") if splits == "official" else ""))


def _measure(chosen: Settings, run: Run, source: data.Source, place: Path) -> dict:
    summary = chosen.finetune(run, source, place)
    return {name: summary[name] for name in METRICS.values()}


def _write(
    models: Sequence[str], datasets: Sequence[str], metric: str, rules: dict, folder: Path, records: list[dict]
) -> None:
    shown_records = [{**record, "test_accuracy": record[METRICS[metric]]} for record in records]
    measured = ", ".join(f"{name}={value}" for name, value in rules.items())

    def describe(names: Mapping[str, str]) -> str:
        return f"{tables.comparison(shown_records, models, datasets, names, metric)}\nmeasured with {measured}"

    draw = functools.partial(tables.plot, shown_records, models, datasets, label=f"test {metric.replace('_', ' ')}")
    tables.write(folder, "standard", [*models, *datasets], describe, draw)


def main() -> None:
    given = flags.FLAGS
    with shown(given.workdir, "standard"):
        standard(
            given.models,
            given.workdir,
            given.datasets,
            runs=given.runs,
            shard=parsed_shard(given.shard),
            splits=given.splits,
            metric=given.metric,
            **values(OPTIONS),
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
    flags.DEFINE_enum("metric", "accuracy", tuple(METRICS), "What the table shows; published is the accuracy.")
    settings_flags(OPTIONS)
