"""Program: evaluates published weights without training, and compares with the published accuracies.

The classes are those of ILSVRC-2012, for weights with a head of 21,843 classes too. A finished evaluation is not
repeated, so an interrupted one resumes.

Examples:
    python -m bit_keras.protocols evaluate --models=BiT-M-R50x1-ILSVRC2012 --workdir=runs/evaluation
    python -m bit_keras.protocols evaluate --models=BiT-M-R50x1 --datasets=objectnet:/data/objectnet-1.0.zip --workdir=o
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from bit_keras import data
from bit_keras.data.content import with_content
from bit_keras.evaluate import options as evaluation_options
from bit_keras.evaluate.evaluator import evaluate
from bit_keras.protocols.evaluation_table import NUMBERS, table
from bit_keras.protocols.sweep import FAULTS, failed, latest_records, shown
from bit_keras.runs.config import LOAD_OPTIONS, fingerprint
from bit_keras.runs.names import display_names, stem
from bit_keras.runs.opening import load_data
from bit_keras.runs.places import folders_of
from bit_keras.runs.series import cell_name, each_once, identity_of, recorded
from bit_keras.runs.workdir import PLACES, share
from bit_keras.system.checks import known_arguments
from bit_keras.system.files import write_json, write_lines
from bit_keras.system.logs import logger, shows_messages
from bit_keras.system.paths import check_folder, check_outside, expanded
from bit_keras.system.texts import cell
from bit_keras.zoo.evaluation_sets import EVALUATION_SETS
from bit_keras.zoo.variants import VARIANTS

DATASETS = tuple(name for name, row in EVALUATION_SETS.items() if row.builder)  # the others need a path
_NAME = "evaluation"  # of the records and of the table
_KEPT = ("examples", "resolution", "fit", "competing_classes", *NUMBERS.values())
_DEFAULTS = (None, False, "float32")
_FREE = (*PLACES, "batch_size")  # do not affect the results beyond rounding


@dataclasses.dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes:
        model: as in `bit_keras.evaluate`.
        dataset: name of the data.
    """

    model: str
    dataset: str


@known_arguments(evaluation_options.OPTIONS, unchecked=("models", "datasets"))
@shows_messages
def evaluation(
    models: Sequence[str | os.PathLike],
    workdir: str | os.PathLike,
    datasets: Sequence[str] = DATASETS,
    *,
    verbose: bool = True,
    **options,
) -> list[dict]:
    """Evaluates weights on sets of images and writes evaluation.json and evaluation.md.

    All sets are opened before anything is computed. If one cannot be opened, or an evaluation fails, the others are
    still made.

    Args:
        models: presets, weight files or folders of runs, whose heads have the classes of the data.
        workdir: folder of the evaluations.
        datasets: evaluation sets of `bit_keras.list_tasks`, alone where TensorFlow Datasets has them, or with a path,
            such as "objectnet:/data/objectnet-1.0.zip"; or other data as `bit_keras.data.load` takes them.
        verbose: False shows only warnings.
        **options: `resolution`, `fit`, `batch_size` and others of `bit_keras.evaluate.evaluator.evaluate`.

    Returns:
        A record for each finished evaluation: "model", "dataset", "examples", "resolution", "fit", "top1_accuracy",
        "top5_accuracy", and for ObjectNet the accuracies where only the classes of the data compete.

    Raises:
        ValueError: a setting is out of its range.
        TypeError: an option does not exist, or an argument has the wrong type.
        FileExistsError: `workdir` belongs to evaluations with other options.
        bit_keras.protocols.sweep.Failed: some evaluations have failed; the message lists their reasons.
        KeyboardInterrupt: a signal arrived. The same call resumes.

    Example:
        >>> from bit_keras.protocols.evaluation import evaluation
        >>> bit_keras.save_npz(bit_keras.BiT.from_preset("BiT-mini-R17x0.5", num_classes=10), "ten.npz")
        >>> records = evaluation(["ten.npz"], "runs/evaluation", ["digits"], resolution=32, verbose=False)
        >>> [(record["dataset"], record["examples"]) for record in records]
        [('digits', 360)]
    """
    workdir = check_folder("workdir", workdir)
    models = list(map(expanded, each_once("models", models, str)))
    datasets = each_once("datasets", datasets, str)
    options = {name: value for name, value in options.items() if value is not None}  # flags that are not given
    for model in models:
        if model in VARIANTS:
            raise ValueError(f"models must be weights, got the variant {model}, which has random ones")
    for dataset in datasets:
        check_outside("workdir", workdir, "the data", folders_of(dataset))
    data.choose_loader(options.get("loader"))  # raises before anything is opened
    weights = {model: fingerprint(model) for model in models}
    lasting = {name: value for name, value in options.items() if name not in _FREE and value not in _DEFAULTS}
    folder = share(workdir, {"options": lasting})
    sources, failures = _open(datasets, {name: options[name] for name in LOAD_OPTIONS if name in options})
    for model, dataset in itertools.product(models, sources):
        run, source = Run(model, dataset), sources[dataset]
        identity = identity_of(run, weights[model], source, lasting)
        place = folder / "runs" / cell_name((stem(model), stem(dataset)), identity)
        try:
            record = recorded(place / f"{_NAME}.json", identity, functools.partial(_measure, run, source, options))
        except FAULTS as error:
            logger.error("%s on %s: %s", model, dataset, error)
            failures.append(f"{model} on {dataset}: {error}")
        else:
            logger.info("%s on %s: top-1 accuracy %.4f", model, dataset, record["top1_accuracy"])
    records = _write(folder, models, datasets)
    if failures:
        raise failed(failures, "evaluation")
    return records


def _open(datasets: Sequence[str], options: dict) -> tuple[dict[str, data.Source], list[str]]:
    """Returns {name: test images} of the data that can be opened, and the failures of the others, a line each."""
    sources, failures = {}, []
    for dataset in datasets:
        try:
            sources[dataset] = with_content(load_data(dataset, **options).test_alone())
        except FAULTS as error:
            logger.error("%s: %s", dataset, error)
            failures.append(f"{dataset}: {error}")
    return sources, failures


def _measure(run: Run, source: data.Source, options: dict) -> dict:
    chosen = {name: value for name, value in options.items() if name not in LOAD_OPTIONS}
    metrics = evaluate(run.model, source, **chosen).metrics
    return {**dataclasses.asdict(run), **{name: metrics[name] for name in _KEPT if metrics.get(name) is not None}}


def _write(folder: Path, models: Sequence[str], datasets: Sequence[str]) -> list[dict]:
    """Writes the results of all starts so far, and returns their records."""
    found = latest_records(folder, _NAME, ("model", "dataset"))
    records = [found[run] for run in itertools.product(models, datasets) if run in found]
    write_json(folder / f"{_NAME}.json", {"runs": records})
    names = display_names([*models, *datasets], cell)
    write_lines(folder / f"{_NAME}.md", table(records, models, datasets, names).splitlines())
    return records


def main() -> None:
    values = flags.FLAGS
    with shown(values.workdir, _NAME):
        evaluation(values.models, values.workdir, values.datasets, **evaluation_options.values())


def define_flags() -> None:
    flags.DEFINE_list("models", None, "Presets, weight files or folders of runs.", required=True)
    flags.DEFINE_string("workdir", None, "Folder of the evaluations.", required=True)
    flags.DEFINE_list(
        "datasets",
        list(DATASETS),
        'Evaluation sets, such as "imagenet2012_real" or "objectnet:/data/objectnet-1.0.zip", or other data.',
    )
    evaluation_options.define_flags()
