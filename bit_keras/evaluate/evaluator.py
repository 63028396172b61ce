"""The evaluation, top to bottom: data, model, predict, measure, write."""

import contextlib
import csv
import dataclasses
import itertools
import os
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
from rich import progress

from bit_keras import data
from bit_keras.checkpoints import provenance
from bit_keras.data.errors import shortened
from bit_keras.evaluate.class_order import MATCHES, output_order
from bit_keras.figures import drawing, notebook, report
from bit_keras.inference.classifier import SavedModelClassifier, local_weights, open_classifier
from bit_keras.metrics import Predictions, classification, predict
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.runs.opening import SOURCES, load_data
from bit_keras.runs.places import folders_of
from bit_keras.system.checks import check_choice, check_integer, check_name_or_path, known_arguments
from bit_keras.system.files import whole, write_json
from bit_keras.system.logs import doing, logger, shows_messages
from bit_keras.system.paths import check_outside, check_place, expanded
from bit_keras.zoo.fits import FITS
from bit_keras.zoo.precisions import PRECISIONS

SPLITS = ("test", "validation", "train", "all")
_MISTAKES = 24  # highest-loss errors to draw

_LINES = {
    "examples": "examples",
    "top1_accuracy": "top-1 accuracy",
    "top5_accuracy": "top-5 accuracy",
    "mean_per_class_accuracy": "mean per-class accuracy",
    "expected_calibration_error": "expected calibration error",
    "cross_entropy": "cross-entropy (nats)",
}

_COLUMNS = (
    progress.TextColumn("{task.description}"),
    progress.BarColumn(),
    progress.TextColumn("{task.completed}/{task.total}"),
    progress.TimeRemainingColumn(),
)


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """Results of an evaluation.

    Attributes:
        metrics: content of metrics.json: what was evaluated, and
            "examples": their number N;
            "top1_accuracy", "top5_accuracy": fraction of examples whose true class is the predicted one, or among the
            five most likely ones (None for fewer than five classes), in [0, 1];
            "mean_per_class_accuracy": mean of the accuracies of the classes that have examples, in [0, 1];
            "expected_calibration_error": see `classification.expected_calibration_error`, of the softmax, in [0, 1];
            "cross_entropy": mean, in nats.
        per_class: rows of `classification.per_class`.
        predictions: of the N examples; images only if they were drawn.
        class_names: names of the K classes; those of the data, then those that only the weights know.
        files: file of each example; () for data that are not in files of images.
    """

    metrics: dict
    per_class: list[dict]
    predictions: Predictions
    class_names: tuple[str, ...]
    files: tuple[str, ...] = ()

    def lines(self) -> dict[str, str]:
        """Returns {description: formatted value} of the numbers in `metrics`."""
        values = {text: self.metrics[name] for name, text in _LINES.items() if self.metrics[name] is not None}
        return {text: f"{value:,}" if isinstance(value, int) else f"{value:.4f}" for text, value in values.items()}

    def __repr__(self) -> str:
        shown = ("model", "dataset", "examples", "top1_accuracy")
        return f"Evaluation({', '.join(f'{name}={self.metrics[name]!r}' for name in shown)})"

    def _repr_html_(self) -> str:
        return notebook.table({name: self.metrics[name] for name in ("model", "dataset", "split")} | self.lines())


@known_arguments((), unchecked=("model", "source"))
@shows_messages
def evaluate(
    model: str | os.PathLike,
    source: str | os.PathLike | data.Source,
    output: str | os.PathLike | None = None,
    *,
    split: str = "test",
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
    loader: str | None = None,
    skip_unreadable: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
    batch_size: int = 64,
    resolution: int | None = None,
    fit: str | None = None,
    precision: str = "float32",
    variant: str | None = None,
    match_classes: str | None = None,
    verbose: bool = True,
) -> Evaluation:
    """Evaluates a classifier on every example of a split, each exactly once.

    Args:
        model: name of published weights, path or address of any format that `BiT.from_preset` reads, or the folder of
            a run, whose best.npz is taken, or else weights.npz. A SavedModel directory is run itself, with images in
            [0, 1].
        source: "digits", a TFDS name, a folder of class folders, or a source made by `bit_keras.data`.
        output: new or empty folder for metrics.json, per_class.csv, predictions.csv, confused_pairs.csv,
            worst_mistakes.png and, for up to 100 classes, confusion_matrix.png, all of them or none, but for a picture
            that cannot be drawn; None writes nothing.
        split: "test", "validation", "train", or "all" for all of them, such as a whole folder without splits.
        data_dir, manual_dir, skip_unreadable, image_column, label_column: as in `bit_keras.data.load`; not used if
            `source` is already opened.
        loader: "tf.data" or "grain"; None for the first of them that is installed.
        batch_size: images per batch, 1 or more.
        resolution: side in pixels to which images are resized, 1 or more; None for the training resolution of the
            weights, or for the HyperRule's crop if that is not known.
        fit: "squash", "pad" or "crop", how images become squares; None for what the card of the weights says.
        precision: "float32", "mixed_bfloat16" or "mixed_float16"; a SavedModel has its own.
        variant: architecture that a weight file must have; None infers it from the shapes.
        match_classes: if the class names of the weights (`BiT.class_names`) are not those of the data, "names" takes
            the outputs by their names, and "order" in their order; None raises an error. If the data only lack some of
            the classes of the weights, the outputs are always taken by their names.
        verbose: False shows only warnings.

    Raises:
        TypeError: an argument does not exist, or has the wrong type.
        ValueError: an argument is missing or out of its range, the data are invalid (`bit_keras.data.DataError`), the
            number or the names of the classes of the head differ from those of the data, or a logit is NaN or infinite.
        FileExistsError: `output` is a file, or a folder that is not empty.
        ConnectionError, FileNotFoundError, ImportError, bit_keras.checkpoints.CheckpointError: as `BiT.from_preset`.
    """
    _check_given(model=model, dataset=source)
    allowed = "a preset, or a path or an address of weights; bit_keras.save_npz writes a file"
    model = expanded(check_name_or_path("model", model, allowed))
    if not isinstance(source, data.Source):
        check_name_or_path("source", source, SOURCES)
    check_choice("split", split, SPLITS)
    check_choice("precision", precision, PRECISIONS)
    check_choice("fit", fit, (None, *FITS))
    check_choice("match_classes", match_classes, (None, *MATCHES))
    batch_size = check_integer("batch_size", batch_size)
    if resolution is not None:
        check_integer("resolution", resolution)
    loader = data.choose_loader(loader)
    if output is not None:
        output = _check_output(output, source)

    # Data
    if not isinstance(source, data.Source):
        source = load_data(
            source,
            data_dir=data_dir,
            manual_dir=manual_dir,
            skip_unreadable=skip_unreadable,
            image_column=image_column,
            label_column=label_column,
            divide=split != "all",
        )
    source.check_one_label("evaluation")
    splits = _splits(source, split)
    num_examples = sum(each.num_test for each in splits)
    rule = HyperRule(source.num_train, source.image_size, resolution=resolution)
    default = rule.crop, "the HyperRule's for these data, since the training resolution of the weights is not known"
    file = local_weights(model)  # once: each time it is hashed
    card = provenance.read_card(file)
    crop, reason = provenance.choose_resolution(file, resolution, default)
    fit = provenance.choose_fit(card, fit)
    batches = [data.test_batches(each, batch_size=batch_size, crop=crop, fit=fit, loader=loader) for each in splits]
    which = "all splits" if split == "all" else f"the {split} split"
    logger.info("%s: %d examples of %s", source.name, num_examples, which)
    logger.info("evaluated at %d pixels: %s", crop, reason)

    # Model
    with doing(f"loading {model}"):
        network = open_classifier(file, variant, precision)
    num_classes = network.output_shape[-1]
    names = card.of_head(num_classes, model).class_names
    has_all_classes = num_classes == source.num_classes
    if not has_all_classes and (num_classes < source.num_classes or names is None or match_classes == "order"):
        raise ValueError(
            f"the head must have an output for each class of the data; {os.fspath(model)} has {num_classes:,} "
            f"outputs, {source.name} has {source.num_classes:,} classes: fine-tune the model on these data first"
        )
    outputs = output_order(names, source.class_names, match_classes)
    names = source.class_names if has_all_classes else tuple(names[k] for k in outputs)
    if not has_all_classes:
        lacking = shortened([repr(name) for name in names[source.num_classes :]])
        logger.info("classes of the weights that the data have no images of: %s", ", ".join(lacking))

    # Predict
    classifier = network if outputs is None else _InOrder(network, outputs)
    with contextlib.closing(_watched(itertools.chain(*batches), num_examples)) as watched:  # also removes the bar
        predictions = predict(classifier, watched, num_mistakes=0 if output is None else _MISTAKES)
    _check_finite(predictions)

    # Measure
    labels, classes, confidences = predictions.labels, predictions.top_classes, predictions.top_probabilities[:, 0]
    per_class = classification.per_class(labels, predictions.classes, names)
    evaluation = Evaluation(
        {
            "model": os.fspath(model),
            "dataset": source.name,
            "split": split,
            "resolution": crop,
            "fit": fit,
            **_computation(network, precision),
            "classes": num_classes,
            "examples": len(labels),
            "top1_accuracy": predictions.accuracy,
            "top5_accuracy": classification.top_k_accuracy(classes, labels) if num_classes >= 5 else None,
            "mean_per_class_accuracy": classification.mean_per_class_accuracy(per_class),
            "expected_calibration_error": classification.expected_calibration_error(confidences, predictions.is_right),
            "cross_entropy": predictions.loss,
        },
        per_class,
        predictions,
        names,
        tuple(name for each in splits for name in data.test_names(each)),
    )

    # Write
    if output is not None:
        _write(output, evaluation)
    return evaluation


def _check_given(**values) -> None:
    for name, value in values.items():
        if value is None or (isinstance(value, str) and not value):
            raise ValueError(f"{name} must be given, got {value!r}")


def _splits(source: data.Source, split: str) -> list[data.Source]:
    """Returns sources whose test splits are evaluated one after the other."""
    if split == source.test_split == "all":  # the data have no splits
        return [source]
    if split == "all":
        names = ("train",) if source.validation is None else ("train", "validation")
        return [*map(source.tested_on, names), source]
    return [source if split == "test" else source.tested_on(split)]


class _InOrder:
    """A classifier with its outputs in another order."""

    def __init__(self, network, outputs: list[int]):
        self._network, self._outputs = network, outputs

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._network.predict_on_batch(images))[:, self._outputs]


def _check_output(output: str | os.PathLike, source: str | os.PathLike | data.Source) -> Path:
    folder = check_place("output", output)
    if os.path.lexists(folder) and (not folder.is_dir() or os.listdir(folder)):
        raise FileExistsError(f"output must be a new or empty folder, got {folder}")
    check_outside("output", folder, "the data", folders_of(source))
    return folder


def _computation(network, precision: str) -> dict:
    if isinstance(network, SavedModelClassifier):  # it has its own precision
        return {"precision": None, "backend": "tensorflow"}
    return {"precision": precision, "backend": keras.backend.backend()}


def _check_finite(predictions: Predictions) -> None:
    invalid, count = np.count_nonzero(~predictions.is_finite), len(predictions.is_finite)
    if invalid:
        raise ValueError(f"logits must be finite, got NaN or infinity for {invalid:,} of {count:,} examples")


def _watched(batches: Iterable, num_examples: int) -> Generator:
    """Yields the batches; shows a progress bar in a terminal, and logs time and speed at the end."""
    start, done = time.perf_counter(), 0

    def describe() -> str:
        return "" if not bar.disable else f"{done:,} of {num_examples:,} examples evaluated"

    # Outside of a terminal a bar would print one line per batch.
    with progress.Progress(*_COLUMNS, disable=not progress.get_console().is_terminal) as bar, doing(describe):
        task = bar.add_task("evaluate", total=num_examples)
        for images, labels in batches:
            yield images, labels
            done += len(images)
            bar.advance(task, len(images))
    seconds = time.perf_counter() - start
    logger.info("%d examples in %.1f s, %.0f images/s", num_examples, seconds, num_examples / seconds)


def _write(folder: Path, evaluation: Evaluation) -> None:
    predictions, names = evaluation.predictions, evaluation.class_names
    with whole(folder.resolve()) as temporary:  # `whole` needs a name, which "." lacks
        temporary.mkdir()
        write_json(temporary / "metrics.json", evaluation.metrics)
        rows = [list(row.values()) for row in evaluation.per_class]
        _write_csv(temporary / "per_class.csv", list(evaluation.per_class[0]), rows)
        _write_csv(temporary / "predictions.csv", *_prediction_rows(evaluation))
        pairs = [(names[label], names[best], count) for label, best, count in predictions.confused_pairs()]
        _write_csv(temporary / "confused_pairs.csv", ["label", "predicted", "examples"], pairs)
        drawing.save_all(temporary, report.of_predictions(predictions, names, evaluation.files))


def _prediction_rows(evaluation: Evaluation) -> tuple[list[str], Iterator[list]]:
    """Returns the header and the rows of predictions.csv."""
    predictions = evaluation.predictions
    ranks = range(1, predictions.top_classes.shape[1] + 1)
    header = [
        "index",
        "file",
        "label",
        "predicted",
        *(f"class_{k}" for k in ranks),
        *(f"probability_{k}" for k in ranks),
    ]
    names = evaluation.class_names
    files = evaluation.files or itertools.repeat("")
    examples = zip(files, predictions.labels, predictions.top_classes, predictions.top_probabilities)
    rows = (
        [index, file, names[label], names[best[0]], *(names[k] for k in best), *(f"{p:.6g}" for p in scores)]
        for index, (file, label, best, scores) in enumerate(examples)
    )
    return header, rows


def _write_csv(path: Path, header: list[str], rows: Iterable[list]) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
