"""Program: few-shot transfer, by fine-tuning with the HyperRule and by linear probes, over several draws.

Every run has its own folder, so an interrupted sweep resumes without repeating finished runs. Any number of processes
with a common workdir, on one or several machines, divide the runs of the same command.

Examples:
    python -m bit_keras.few_shot --models=BiT-M-R50x1,BiT-S-R50x1 --datasets=cifar10,cifar100 --workdir=/tmp/few_shot
    python -m bit_keras.few_shot --models=BiT-M-R50x1 --datasets='imagenet2012[:99%]' --draw=official --workdir=ilsvrc
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from bit_keras import data
from bit_keras.data.few_shot import DRAWS
from bit_keras.distribution import has_other_workers
from bit_keras.figures import drawing, spread
from bit_keras.finetune import FinetuneConfig, finetune, plan
from bit_keras.inference.features import features_of
from bit_keras.metrics.probes import least_squares, ridge
from bit_keras.network.folding import folded
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.runs import program
from bit_keras.runs.cells import Cell, complete
from bit_keras.runs.config import DATA_OPTIONS, fingerprint
from bit_keras.runs.names import display_names, stem
from bit_keras.runs.network import open_network
from bit_keras.runs.opening import make_config, open_source
from bit_keras.runs.series import SET_BY_SERIES, cell_name, each_once, effective, identity_of
from bit_keras.runs.workdir import share
from bit_keras.system.checks import check_choice, check_integer, known_arguments
from bit_keras.system.command_line import integers
from bit_keras.system.files import write_json, write_lines
from bit_keras.system.logs import logger, shows_messages
from bit_keras.system.optional import require
from bit_keras.system.paths import check_folder, expanded
from bit_keras.system.texts import cell
from bit_keras.zoo.results import published
from bit_keras.zoo.variants import VARIANTS

SHOTS = (1, 5, 10, 25, 100)
# Passed on to fine-tuning.
OPTIONS = (*DATA_OPTIONS, "steps", "batch_size", "small_batch", "resolution", "fit", "flip", "eval_every")
# {method: its name in records, which those of earlier versions have, and in tables}
METHODS = {"finetune": "fine-tuned", "ridge": "linear probe", "lsr": "least-squares probe"}
DEFAULT_METHODS = ("finetune", "ridge")
# Pixels: the images of the least-squares probe, from google-research/big_vision, `configs/common_fewshot.py`.
_LSR_RESIZE, _LSR_CROP = 256, 224
_STYLES = dict(zip(METHODS.values(), ("-o", "--s", ":^"), strict=True))  # of lines in the plot


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell of the sweep.

    Attributes:
        model: preset, weight file or, for random weights, variant.
        dataset: name of the task.
        method: one of the values of `METHODS`.
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
    unchecked=("models", "datasets", "shots", "methods"),
)
@shows_messages
def sweep(
    models: Sequence[str | os.PathLike],
    datasets: Sequence[str | os.PathLike],
    workdir: str | os.PathLike,
    *,
    shots: Sequence[int] = SHOTS,
    seeds: int = 5,
    methods: Sequence[str] = DEFAULT_METHODS,
    draw: str | None = None,
    verbose: bool = True,
    **options,
) -> list[dict]:
    """Measures the test accuracy of every combination and writes few_shot.json, few_shot.md and few_shot.png.

    A finished run is not repeated, unless the content of its weight file or data set has changed. The same call in
    other processes takes part: each takes runs that are free, and at the end waits for those of the others.

    Args:
        models: presets, weight files or variants for random weights. All get a new head.
        datasets: as `bit_keras.data.load` takes them.
        workdir: folder of the sweep; several processes may share it.
        shots: training examples per class, each 1 or more.
        seeds: number of draws, 1 or more; their seeds count from 0.
        methods: of "finetune", by the HyperRule;
            "ridge", ridge regression on the network's features at the resolution of the HyperRule (extra few-shot);
            "lsr", the probe of google-research/big_vision: least squares on whitened features of central squares of
            224 pixels, from images of 256 pixels.
        draw: how training examples are drawn, see `bit_keras.data.Source.few_shot`: "nested", "official" as in
            google-research/big_transfer, or "big_vision"; None for "big_vision" with "lsr" and else "nested".
        verbose: False shows only warnings.
        **options: of `bit_keras.finetune`, for example `steps`; the resolution is also that of the probes.

    Returns:
        A record per run: "model", "dataset", "method", "shots", "seed" and "test_accuracy", in [0, 1].

    Raises:
        ValueError: a setting is out of its range, or a class has fewer examples than `shots`.
        TypeError: an option does not exist, or an argument has the wrong type.
        ImportError: scikit-learn, which "ridge" needs, is not installed.
        FileExistsError: `workdir` belongs to a sweep with different options.
        TrainingInterrupted, KeyboardInterrupt: a signal arrived. The same call resumes from the records.

    Example:
        >>> from bit_keras.few_shot import sweep
        >>> options = {"shots": [1], "seeds": 2, "methods": ["lsr"], "resolution": 32, "verbose": False}
        >>> records = sweep(["BiT-mini-R17x0.5"], ["digits"], "runs/few_shot", **options)
        >>> [(record["seed"], record["test_accuracy"] > 0.2) for record in records]
        [(0, True), (1, True)]
    """
    methods = _checked_methods(methods)
    check_choice("draw", draw, (None, *DRAWS))
    workdir = check_folder("workdir", workdir)
    models = list(map(expanded, each_once("models", models, str)))
    datasets = each_once("datasets", datasets, str)
    shots = [check_integer("shots", count) for count in each_once("shots", shots, object)]
    seeds = check_integer("seeds", seeds)
    weights = {model: fingerprint(model) for model in models}
    draws = {draw or _draw_of(METHODS[method]) for method in methods}
    sources = {name: _open(models, name, workdir, shots, draws, options) for name in datasets}
    settings = effective(options) | ({} if draw is None else {"draw": draw})
    folder = share(workdir, {"options": settings})  # only after all settings have been checked

    def cells_of(name: str, source: data.Source) -> Iterator[tuple[Cell, Callable[[], dict]]]:
        measures = _measures(methods)
        for model, method, count, seed in itertools.product(models, measures, shots, range(seeds)):
            run = Run(model, name, method, count, seed)
            identity = identity_of(run, weights[model], source, settings)
            place = folder / "runs" / cell_name((stem(model), stem(name), method, count, seed), identity)
            measure = functools.partial(_measure, measures[method], run, source, draw, place, options)
            yield Cell(place / "few_shot.json", identity), measure

    records = complete(
        [functools.partial(cells_of, *each) for each in sources.items()],
        lambda cell, record: logger.info("%s: %.4f", cell.name, record["test_accuracy"]),
        together=has_other_workers(options.get("distribute", "none")),
    )
    write_json(folder / "few_shot.json", {"options": settings, "runs": records})
    write_lines(folder / "few_shot.md", table(records).splitlines())
    drawing.save_all(folder, {"few_shot": lambda: plot(records)})
    return records


def _checked_methods(methods: Sequence[str]) -> list[str]:
    methods = each_once("methods", methods, str)
    for method in methods:
        check_choice("methods", method, tuple(METHODS))
    if "ridge" in methods:
        require("the method ridge", "sklearn")
    return methods


def _open(
    models: list[str], name: str, workdir: str | os.PathLike, shots: list[int], draws: Iterable[str], options: dict
) -> data.Source:
    """Returns the data of a task, after checking the settings and the number of examples of all its runs."""
    for model in models:
        config = make_config(FinetuneConfig, model, name, workdir, options)
    source = open_source(config, name).without_validation()  # no weights are chosen: only the last ones are measured
    for count, draw in itertools.product(shots, draws):
        plan.task(config, source.few_shot(count, seed=0, draw=draw))
    return source


def _measure(
    method: Callable[..., float], run: Run, source: data.Source, draw: str | None, folder: Path, options: dict
) -> dict:
    few = source.few_shot(run.shots, run.seed, draw or _draw_of(run.method))
    return {**dataclasses.asdict(run), "test_accuracy": method(run, few, folder, options)}


def _draw_of(method: str) -> str:
    """Returns how examples are drawn if the user does not choose it."""
    return "big_vision" if method == METHODS["lsr"] else "nested"


def _finetuned(run: Run, few: data.Source, folder: Path, options: dict) -> float:
    # A new head: one from an earlier run for the same classes may have seen more examples than the draw has.
    return finetune(run.model, few, folder / "run", seed=run.seed, new_head=True, **options).test_accuracy


class _Features:
    """Features of one task. Draws with the same weights share those of the test images."""

    def __init__(self):
        self._weights = self._backbone = None  # loaded once for all draws and methods, unless the weights are random
        self._test = {}

    def __call__(self, run: Run, few: data.Source, **reading) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Returns features and labels of the drawn images, not augmented, and then of the test images."""
        weights = run.model, run.seed if run.model in VARIANTS else None
        if weights != self._weights:
            keras.utils.set_random_seed(run.seed)
            self._weights, self._backbone = weights, folded(open_network(run.model, 1).backbone)
        key = weights, *reading.items()
        if key not in self._test:
            self._test[key] = features_of(self._backbone, few, **reading)
        examples = dataclasses.replace(few, test=few.train)  # every example once
        return *features_of(self._backbone, examples, **reading), *self._test[key]


@dataclasses.dataclass(frozen=True)
class _Probe:
    """A linear probe on one task.

    Attributes:
        fit: one of `metrics.probes`.
        features: shared by the probes.
    """

    fit: Callable
    features: _Features

    def __call__(self, run: Run, few: data.Source, folder: Path, options: dict) -> float:
        reading = {"fit": options.get("fit", "squash"), "loader": options.get("loader")}
        sizes = _sizes(run.method, few, options.get("resolution"))
        features, labels, test_features, test_labels = self.features(run, few, **sizes, **reading)
        scores = self.fit(features, labels, few.num_classes).predict(test_features)
        return float(np.mean(scores.argmax(axis=-1) == test_labels))


def _sizes(method: str, few: data.Source, resolution: int | None) -> dict[str, int]:
    """Returns the sides in pixels that a probe resizes and crops images to."""
    if method != METHODS["lsr"]:
        return {"crop": HyperRule(few.num_train, few.image_size, resolution=resolution).crop}
    crop = resolution or _LSR_CROP
    return {"crop": crop, "resize": round(crop * _LSR_RESIZE / _LSR_CROP)}


def _measures(methods: Sequence[str]) -> dict[str, Callable[..., float]]:
    """Returns {method as in `Run`: function that measures a run of it} for one task."""
    features = _Features()
    measures = {"finetune": _finetuned, "ridge": _Probe(ridge, features), "lsr": _Probe(least_squares, features)}
    return {METHODS[name]: measures[name] for name in methods}


def _groups(records: list[dict]) -> dict[tuple[str, str, str], dict[int, list[float]]]:
    """Returns {(dataset, method, model): {shots: accuracies}}."""
    groups = {}
    for record in records:
        key = record["dataset"], record["method"], record["model"]
        groups.setdefault(key, {}).setdefault(record["shots"], []).append(record["test_accuracy"])
    return groups


def table(records: list[dict]) -> str:
    """Returns a Markdown table of the test accuracies in percent: median (minimum to maximum) over the draws.

    Published accuracies of the same weights follow in rows of their own.
    """
    shots = sorted({record["shots"] for record in records})
    tasks, weights = (display_names([record[kind] for record in records], cell) for kind in ("dataset", "model"))
    lines = [
        "| task | weights | method | " + " | ".join(f"{count} per class" for count in shots) + " |",
        "|---|---|---|" + "---|" * len(shots),
    ]
    groups = _groups(records)
    rows = [(*key, [spread.in_percent(cells[count]) for count in shots]) for key, cells in groups.items()]
    for dataset, model in dict.fromkeys((dataset, model) for dataset, _, model in groups):
        rows += [(dataset, source, model, numbers) for source, numbers in _published(dataset, model, shots).items()]
    for dataset, method, model, cells in rows:
        lines.append(" | ".join([f"| {tasks[dataset]}", weights[model], method, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _published(dataset: str, model: str, shots: Sequence[int]) -> dict[str, list[str]]:
    """Returns {source: published accuracies in percent, "-" where there is none}."""
    name = dataset.partition("[")[0]  # without a slice
    found = [{row.source: f"{row.accuracy:g}" for row in published(model, name, count)} for count in shots]
    sources = dict.fromkeys(source for numbers in found for source in numbers)
    return {source: [numbers.get(source, "-") for numbers in found] for source in sources}


def plot(records: list[dict]) -> Figure:
    """Draws the median test accuracy over examples per class, one panel per task; the range is shaded."""
    tasks = list(dict.fromkeys(record["dataset"] for record in records))
    models = list(dict.fromkeys(record["model"] for record in records))
    titles, weights = display_names(tasks, drawing.drawn), display_names(models, drawing.drawn)
    figure = Figure(figsize=(0.8 + 4.2 * len(tasks), 4), layout="constrained")
    panels = dict(zip(tasks, np.atleast_1d(figure.subplots(1, len(tasks), sharey=True))))
    for (dataset, method, model), cells in _groups(records).items():
        style = _STYLES[method]
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
    flags.DEFINE_string("workdir", None, "Folder of the sweep; processes that share it divide the runs.", required=True)
    flags.DEFINE_list("shots", [str(count) for count in SHOTS], "Training examples per class.")
    flags.DEFINE_integer("seeds", 5, "Number of draws of the training examples.", lower_bound=1)
    flags.DEFINE_list(
        "methods",
        list(DEFAULT_METHODS),
        "finetune, by the HyperRule; ridge, ridge regression on features; lsr, the least-squares probe of big_vision.",
    )
    flags.DEFINE_string(
        "draw",
        None,
        'How examples are drawn: "nested", where more examples per class include those of fewer; "official", the '
        'draws of the official code, from the first 200,000 images; "big_vision". If not given, big_vision for lsr and '
        "else nested.",
    )
    program.define_flags(FinetuneConfig, OPTIONS)


def main() -> None:
    values = flags.FLAGS
    sweep(
        values.models,
        values.datasets,
        values.workdir,
        shots=integers("shots", values.shots),
        seeds=values.seeds,
        methods=values.methods,
        draw=values.draw,
        **program.values(FinetuneConfig, OPTIONS),
    )
    folder = Path(expanded(values.workdir))
    print((folder / "few_shot.md").read_text(encoding="utf-8"))
    print(f"results in {folder}: {', '.join(sorted(path.name for path in folder.glob('few_shot.*')))}")


def run() -> None:
    """Entry point of the console script `bit-few-shot`."""
    _define_flags()
    program.run("bit_keras.few_shot", main)


if __name__ == "__main__":
    run()
