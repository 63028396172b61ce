"""Program: few-shot transfer, by fine-tuning with the HyperRule and by a linear probe, over several draws.

Every run has its own folder, so an interrupted sweep resumes without repeating finished runs.

Example:
    python -m bit_keras.few_shot --models=BiT-M-R50x1,BiT-S-R50x1 --datasets=cifar10,cifar100 --workdir=/tmp/few_shot
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from bit_keras import data
from bit_keras.figures import drawing, spread
from bit_keras.finetune import FinetuneConfig, finetune, plan
from bit_keras.network.folding import folded
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.runs import program
from bit_keras.runs.config import DATA_OPTIONS, fingerprint
from bit_keras.runs.names import display_names, stem
from bit_keras.runs.network import open_network
from bit_keras.runs.opening import make_config, open_source
from bit_keras.runs.series import SET_BY_SERIES, cell_name, each_once, effective, identity_of, recorded
from bit_keras.runs.workdir import claim
from bit_keras.system.checks import check_integer, known_arguments
from bit_keras.system.command_line import integers
from bit_keras.system.files import write_json, write_lines
from bit_keras.system.logs import logger, shows_messages
from bit_keras.system.optional import require
from bit_keras.system.paths import check_folder, expanded
from bit_keras.system.texts import cell
from bit_keras.zoo.variants import VARIANTS

SHOTS = (1, 5, 10, 25, 100)
OPTIONS = (*DATA_OPTIONS, "steps", "batch_size", "resolution", "fit", "flip", "eval_every")  # passed on to fine-tuning
METHODS = ("fine-tuned", "linear probe")


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell of the sweep.

    Attributes:
        model: preset, weight file or, for random weights, variant.
        dataset: name of the task.
        method: one of `METHODS`.
        shots: training examples per class.
        seed: of the draw and of the training.
    """

    model: str
    dataset: str
    method: str
    shots: int
    seed: int


@known_arguments(
    (field.name for field in dataclasses.fields(FinetuneConfig) if field.name not in SET_BY_SERIES),
    unchecked=("models", "datasets", "shots"),
)
@shows_messages
def sweep(
    models: Sequence[str | os.PathLike],
    datasets: Sequence[str | os.PathLike],
    workdir: str | os.PathLike,
    *,
    shots: Sequence[int] = SHOTS,
    seeds: int = 5,
    verbose: bool = True,
    **options,
) -> list[dict]:
    """Measures the test accuracy of every combination and writes few_shot.json, few_shot.md and few_shot.png.

    A finished run is not repeated, unless the content of its weight file or data set has changed.

    Args:
        models: presets, weight files or variants for random weights. All get a new head.
        datasets: as `bit_keras.data.load` takes them.
        workdir: folder of the sweep.
        shots: training examples per class.
        seeds: number of draws; their seeds count from 0.
        verbose: False shows only warnings.
        **options: of `bit_keras.finetune`, for example `steps`; the resolution is also that of the probe.

    Returns:
        A record per run: the fields of `Run` and "test_accuracy".

    Raises:
        ValueError: a setting is out of its range, or a class has fewer examples than `shots`.
        TypeError: an option does not exist, or an argument has the wrong type.
        ImportError: scikit-learn is not installed.
        FileExistsError: `workdir` belongs to a sweep with different options.
        BlockingIOError: another process is using `workdir`.
        TrainingInterrupted, KeyboardInterrupt: a signal arrived. The same call resumes from the records.
    """
    require("a linear probe", "sklearn")
    workdir = check_folder("workdir", workdir)
    models = list(map(expanded, each_once("models", models, str)))
    datasets = each_once("datasets", datasets, str)
    shots = [check_integer("shots", count) for count in each_once("shots", shots, object)]
    seeds = check_integer("seeds", seeds)
    weights = {model: fingerprint(model) for model in models}
    sources = {name: _open(models, name, workdir, shots, options) for name in datasets}
    settings = effective(options)
    records = []
    with claim(workdir, {"options": settings}) as folder:  # only after all settings have been checked
        for name, source in sources.items():
            measures = dict(zip(METHODS, (_finetuned, _Probe()), strict=True))
            for model, method, count, seed in itertools.product(models, METHODS, shots, range(seeds)):
                run = Run(model, name, method, count, seed)
                identity = identity_of(run, weights[model], source, settings)
                fields = stem(model), stem(name), method, count, seed
                place = folder / "runs" / cell_name(fields, identity)
                measure = functools.partial(_measure, measures[method], run, source, place, options)
                records.append(recorded(place / "few_shot.json", identity, measure))
                logger.info("%s: %.4f", place.name, records[-1]["test_accuracy"])
        write_json(folder / "few_shot.json", {"options": settings, "runs": records})
        write_lines(folder / "few_shot.md", table(records).splitlines())
        drawing.save_all(folder, {"few_shot": lambda: plot(records)})
    return records


def _open(models: list[str], name: str, workdir: str | os.PathLike, shots: list[int], options: dict) -> data.Source:
    """Returns the data of a task, after checking the settings and the number of examples of all its runs."""
    for model in models:
        config = make_config(FinetuneConfig, model, name, workdir, options)
    source = open_source(config, name).without_validation()  # no weights are chosen: only the last ones are measured
    for count in shots:
        plan.task(dataclasses.replace(config, examples_per_class=count), source)
    return source


def _measure(method: Callable[..., float], run: Run, *rest) -> dict:
    return {**dataclasses.asdict(run), "test_accuracy": method(run, *rest)}


def _finetuned(run: Run, source: data.Source, folder: Path, options: dict) -> float:
    few = source.few_shot(run.shots, run.seed)
    # A new head: one from an earlier run for the same classes may have seen more examples than the draw has.
    return finetune(run.model, few, folder / "run", seed=run.seed, new_head=True, **options).test_accuracy


class _Probe:
    """Linear probes on one task. Draws with the same weights share the features of the test images."""

    def __init__(self):
        self._weights = self._backbone = None  # loaded once for all draws
        self._test_features = {}

    def __call__(self, run: Run, source: data.Source, folder: Path, options: dict) -> float:
        few = source.few_shot(run.shots, run.seed)
        crop = HyperRule(few.num_train, few.image_size, resolution=options.get("resolution")).crop
        reading = {"crop": crop, "fit": options.get("fit", "squash"), "loader": options.get("loader")}
        weights = run.model, run.seed if run.model in VARIANTS else None
        if weights != self._weights:
            keras.utils.set_random_seed(run.seed)
            self._weights, self._backbone = weights, folded(open_network(run.model, 1).backbone)
        if weights not in self._test_features:
            self._test_features[weights] = _features(self._backbone, few, **reading)
        examples = dataclasses.replace(few, test=few.train)  # every example once, not augmented
        features, labels = _features(self._backbone, examples, **reading)
        test_features, test_labels = self._test_features[weights]
        scores = ridge(features, labels, few.num_classes).predict(test_features)
        return float(np.mean(scores.argmax(axis=-1) == test_labels))


def ridge(features: np.ndarray, labels: np.ndarray, num_classes: int):
    """Fits one-hot labels by ridge regression, with the L2 penalty that has the smallest leave-one-out error.

    Args:
        features: [N, D].
        labels: integers [N] in [0, num_classes).
        num_classes: K.

    Returns:
        An object whose `predict` maps features [M, D] to scores [M, K].

    Raises:
        ImportError: scikit-learn is not installed.
    """
    require("a linear probe", "sklearn")
    from sklearn.linear_model import RidgeCV

    variance = max(float(np.mean(np.var(features, axis=0, dtype=np.float64))), np.finfo(np.float32).tiny)
    penalties = len(features) * features.shape[1] * variance * 10.0 ** np.arange(-6, 3)  # for a sum of squared errors
    return RidgeCV(penalties).fit(features.astype(np.float64), np.eye(num_classes)[labels])


def _features(backbone: keras.Model, source: data.Source, **reading) -> tuple[np.ndarray, np.ndarray]:
    """Returns pooled features [N, D] and labels [N] of the test split; `reading` is for `data.test_batches`."""
    features, labels = [], []
    for images, targets in data.test_batches(source, batch_size=128, **reading):
        features.append(np.asarray(backbone.predict_on_batch(np.asarray(images)), np.float32))
        labels.append(np.asarray(targets).argmax(axis=-1))
    return np.concatenate(features), np.concatenate(labels)


def _groups(records: list[dict]) -> dict[tuple[str, str, str], dict[int, list[float]]]:
    """Returns {(dataset, method, model): {shots: accuracies}}."""
    groups = {}
    for record in records:
        key = record["dataset"], record["method"], record["model"]
        groups.setdefault(key, {}).setdefault(record["shots"], []).append(record["test_accuracy"])
    return groups


def table(records: list[dict]) -> str:
    """Returns a Markdown table of the test accuracies in percent: median (minimum to maximum) over the draws."""
    shots = sorted({record["shots"] for record in records})
    tasks, weights = (display_names([record[kind] for record in records], cell) for kind in ("dataset", "model"))
    lines = [
        "| task | weights | method | " + " | ".join(f"{count} per class" for count in shots) + " |",
        "|---|---|---|" + "---|" * len(shots),
    ]
    for (dataset, method, model), cells in _groups(records).items():
        row = [spread.in_percent(cells[count]) for count in shots]
        lines.append(" | ".join([f"| {tasks[dataset]}", weights[model], method, *row]) + " |")
    return "\n".join(lines) + "\n"


def plot(records: list[dict]) -> Figure:
    """Draws the median test accuracy over examples per class, one panel per task; the range is shaded."""
    tasks = list(dict.fromkeys(record["dataset"] for record in records))
    models = list(dict.fromkeys(record["model"] for record in records))
    titles, weights = display_names(tasks, drawing.drawn), display_names(models, drawing.drawn)
    figure = Figure(figsize=(0.8 + 4.2 * len(tasks), 4), layout="constrained")
    panels = dict(zip(tasks, np.atleast_1d(figure.subplots(1, len(tasks), sharey=True))))
    for (dataset, method, model), cells in _groups(records).items():
        style = "-o" if method == METHODS[0] else "--s"
        label = f"{weights[model]}, {method}"
        spread.plot(panels[dataset], cells, style, color=f"C{models.index(model)}", label=label)
    for task, axes in panels.items():
        axes.set(xlabel="training examples per class", ylim=(0, 1))
        axes.set_title(titles[task], **drawing.literal())
        spread.set_log_ticks(axes, sorted({record["shots"] for record in records}))
    first = panels[tasks[0]]
    first.set_ylabel("test accuracy")
    for text in first.legend(loc="lower right", fontsize=8).get_texts():
        text.set(**drawing.LITERAL)
    return figure


def _define_flags() -> None:
    flags.DEFINE_list("models", None, "Presets, weight files, or variants for random weights.", required=True)
    flags.DEFINE_list("datasets", None, "As in bit_keras.finetune.", required=True)
    flags.DEFINE_string("workdir", None, "Folder of the sweep.", required=True)
    flags.DEFINE_list("shots", [str(count) for count in SHOTS], "Training examples per class.")
    flags.DEFINE_integer("seeds", 5, "Number of draws of the training examples.", lower_bound=1)
    program.define_flags(FinetuneConfig, OPTIONS)


def main() -> None:
    values = flags.FLAGS
    sweep(
        values.models,
        values.datasets,
        values.workdir,
        shots=integers("shots", values.shots),
        seeds=values.seeds,
        **program.values(FinetuneConfig, OPTIONS),
    )
    print(Path(expanded(values.workdir), "few_shot.md").read_text(encoding="utf-8"))


def run() -> None:
    """Entry point of the console script `bit-few-shot`."""
    _define_flags()
    program.run("bit_keras.few_shot", main)


if __name__ == "__main__":
    run()
