"""The networks that were published fine-tuned on the tasks of VTAB-1k, evaluated without training.

Their resolutions were not published. As a check, each is also evaluated on the 1,000 images that it was trained on.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bit_keras import data
from bit_keras.inference.classifier import open_classifier
from bit_keras.metrics import predict
from bit_keras.protocols import tables
from bit_keras.protocols.resolution import sizes
from bit_keras.protocols.settings import Settings, settings
from bit_keras.protocols.sweep import RUNS, Run, expanded_tasks, sweep
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.runs.config import DATA_OPTIONS
from bit_keras.runs.series import each_once
from bit_keras.runs.workdir import PLACES
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import logger, shows_messages
from bit_keras.system.paths import check_folder
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.tasks import TASKS

OPTIONS = (*DATA_OPTIONS, "batch_size", "resolution", "fit", "precision")
_BATCH = 64
_LEAST = 0.9  # accuracy on the images of the training: 256 epochs on 1,000 images leave few errors
_EXPECTED = (
    "Each network was trained on these images for 256 epochs, so about 100 is expected. A low value is a sign that "
    "these are not the images of its training (another split or preparation), or that the order of the classes, the "
    "bins of the label or the resolution differ: compare --resolution_rule=official, --resolution_rule=paper and "
    "--resolution=384."
)


@known_arguments(OPTIONS, unchecked=("models", "tasks"))
@shows_messages
def published(
    models: Sequence[str],
    workdir: str | os.PathLike,
    tasks: Sequence[str] = ("vtab/*",),
    *,
    runs: int = RUNS,
    shard: tuple[int, int] = (0, 1),
    resolution_rule: str = "official",
    verbose: bool = True,
    **options,
) -> list[dict]:
    """Evaluates published networks on the tasks they were fine-tuned on; writes published.json, .md and .png.

    Args:
        models: such as "BiT-M-R50x1", of which each task has its fine-tuned networks.
        workdir: folder of the evaluation; several processes may share it.
        tasks: names or patterns of VTAB-1k tasks.
        runs: number of networks of each model and task, at most the three that were published.
        shard: (index, count): this process makes only every count-th evaluation, beginning with that of this index.
        resolution_rule: "official", images of 480 pixels, or "paper", 384 (R152x4: 480), both 128 for images of less
            than 96x96 pixels. Which one the networks were trained by is not known.
        verbose: False shows only warnings.
        **options: `resolution` in pixels, for all tasks, in place of a rule; `batch_size`, `fit`, `precision`, and
            those of `bit_keras.data.load`.

    Returns:
        A record for each evaluation: "model", "task", "seed" (the number of the published run), "test_accuracy",
        "train_accuracy" and "resolution" in pixels.

    Raises:
        ValueError: a setting is out of its range, or such networks were not published.
        TypeError: an option does not exist, or an argument has the wrong type.
        FileExistsError: `workdir` belongs to an evaluation with different options.
        bit_keras.protocols.sweep.Failed: some evaluations have failed; the message lists their reasons.
    """
    workdir = check_folder("workdir", workdir)
    tasks = expanded_tasks(tasks)
    _check_published(each_once("models", models, str), tasks, runs)
    cells = sweep("published", models, tasks, runs, shard)
    chosen = settings(cells.models, tasks[0], workdir, options, resolution_rule)
    affecting = {name: value for name, value in chosen.changed.items() if name not in (*PLACES, "batch_size")}
    return cells.run(
        workdir,
        {**affecting, "published": True, "resolution_rule": resolution_rule},
        chosen.open,
        functools.partial(_measure, chosen),
        functools.partial(_write, cells.models, tasks),
    )


def _preset(model: str, task: str, run: int) -> str:
    return f"{model}-run{run}-{task.removeprefix('vtab/')}"


def _check_published(models: Sequence[str], tasks: Sequence[str], runs: int) -> None:
    known = list(dict.fromkeys(name.partition("-run")[0] for name in PRESETS if "-run" in name))
    for model in models:
        if model not in known:
            raise ValueError(f"models must be of {', '.join(known)}, which were published fine-tuned; got {model!r}")
    for task in tasks:
        if task not in TASKS or _preset(models[0], task, 0) not in PRESETS:
            raise ValueError(f"tasks must be names or patterns of VTAB-1k tasks, such as 'vtab/dtd'; got {task!r}")
    if runs > RUNS:
        raise ValueError(f"runs must be at most {RUNS}, as many networks as were published of each kind, got {runs}")


def _measure(chosen: Settings, run: Run, source: data.Source, place: Path) -> dict:
    name, options = _preset(run.model, run.task, run.seed), chosen.options
    by_rule = sizes(chosen.resolution_rule, PRESETS[name].variant, source.image_size).get("resolution")
    resolution = by_rule or options.get("resolution")
    reading = {
        "crop": HyperRule(source.num_train, source.image_size, resolution=resolution).crop,
        "batch_size": options.get("batch_size", _BATCH),
        "fit": options.get("fit", "squash"),
        "loader": options.get("loader"),
    }
    network = open_classifier(name, precision=options.get("precision", "float32"))
    if network.output_shape[-1] != source.num_classes:
        raise ValueError(f"{name} must have {source.num_classes} outputs, got {network.output_shape[-1]}")
    accuracies = {}
    for split in ("test", "train"):
        each = source if split == "test" else source.tested_on(split)
        predictions = predict(network, data.test_batches(each, **reading), num_mistakes=0)
        if not predictions.is_finite.all():
            raise ValueError(f"logits must be finite, got NaN or infinity from {name}")
        accuracies[f"{split}_accuracy"] = predictions.accuracy
    if accuracies["train_accuracy"] < _LEAST:
        logger.warning("%s: only %.1f %% of its own training images", name, 100 * accuracies["train_accuracy"])
    return {**accuracies, "resolution": reading["crop"]}


def _write(models: Sequence[str], tasks: Sequence[str], folder: Path, records: list[dict]) -> None:
    def describe(names: Mapping[str, str]) -> str:
        parts = [
            tables.table(records, models, tasks, names),
            "Accuracy on the 1,000 training images of the network, the minimum of the runs:\n",
            tables.minima(records, "train_accuracy", models, tasks, names),
            "\n".join([_EXPECTED, *_low(records), *_preparation(tasks)]),
        ]
        return "\n".join(parts)

    draw = functools.partial(tables.plot, records, models, tasks)
    tables.write(folder, "published", [*models, *tasks], describe, draw)


def _low(records: Sequence[dict]) -> list[str]:
    low = [record for record in records if record["train_accuracy"] < _LEAST]
    if not low:
        return []
    return ["", f"Below {100 * _LEAST:.0f}:", ""] + [
        f"- {_preset(record['model'], record['task'], record['seed'])}: {100 * record['train_accuracy']:.1f} at "
        f"{record['resolution']} pixels"
        for record in low
    ]


def _preparation(tasks: Sequence[str]) -> list[str]:
    """Returns what to know of data whose training images depend on who prepared them."""
    name = "vtab/caltech101"
    if name not in tasks:
        return []
    return ["", f"{name}: {TASKS[name].preparation.note} The published networks were trained on Google's."]
