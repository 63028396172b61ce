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
from bit_keras.evaluate.class_order import MATCHES
from bit_keras.evaluate.matching import Matched, match_outputs
from bit_keras.figures import drawing, notebook, report
from bit_keras.inference.classifier import SavedModelClassifier, local_weights, open_classifier
from bit_keras.metrics import Predictions, classification, predict
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.runs.opening import SOURCES, load_data
from bit_keras.runs.places import folders_of
from bit_keras.system.checks import check_choice, check_integer, check_name_or_path, known_arguments
from bit_keras.system.files import whole, write_json
from bit_keras.system.logs import doing, logger, shows_messages
from bit_keras.system.paths import check_empty_folder, check_outside, expanded
from bit_keras.system.texts import images_per_second
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
    "competing_classes": "competing classes",
    "competing_top1_accuracy": "top-1 accuracy among them",
    "competing_top5_accuracy": "top-5 accuracy among them",
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
            "expected_calibration_error": arXiv 1706.04599, equation 3, over 15 bins of the softmax, in [0, 1];
            "cross_entropy": mean, in nats.
            Of images with several labels any of them is right, and images without labels are not counted;
            "mean_per_class_accuracy" and "cross_entropy" are None then, the latter also if a class has no output.
            "competing_classes", "competing_top1_accuracy", "competing_top5_accuracy": only for data such as ObjectNet,
            where also the outputs of the classes that have images compete alone.
        per_class: a row per class, "class", "examples", "recall" and "precision", both in [0, 1], or None where they
            are not defined; [] for images with several labels.
        predictions: of the N examples; images only if they were drawn.
        class_names: names of the K classes; those of the data, then those that only the weights know.
        files: file of each example; () for data that are not in files of images.

    Example:
        >>> result.metrics["examples"], result.class_names[:3]  # of the example of `evaluate`
        (360, ('0', '1', '2'))
        >>> for description, value in result.lines().items():
        ...     print(description, value)
        examples 360
        top-1 accuracy ...
        top-5 accuracy ...
        mean per-class accuracy ...
        expected calibration error ...
        cross-entropy (nats) 2.3026
    """

    metrics: dict
    per_class: list[dict]
    predictions: Predictions
    class_names: tuple[str, ...]
    files: tuple[str, ...] = ()

    def lines(self) -> dict[str, str]:
        """Returns {description: formatted value} of the numbers in `metrics`."""
        values = {text: self.metrics[name] for name, text in _LINES.items() if self.metrics.get(name) is not None}
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
            that cannot be drawn; None writes nothing. For images with several labels only metrics.json and
            predictions.csv.
        split: "test", "validation", "train", or "all" for all of them, such as a whole folder without splits.
        data_dir, manual_dir, skip_unreadable, image_column, label_column: as in `bit_keras.data.load`; not used if
            `source` is already opened.
        loader: "tf.data" or "grain"; None for the first of them that is installed.
        batch_size: images per batch, 1 or more.
        resolution: side in pixels to which images are resized, 1 or more; None for the training resolution of the
            weights, or for the HyperRule's crop if that is not known.
        fit: how images become squares, "squash", "pad", "crop" or "inner", see `bit_keras.data.train_batches`; None for
            what the card of the weights says.
        precision: "float32", "mixed_bfloat16" or "mixed_float16"; a SavedModel has its own.
        variant: architecture that a weight file must have; None infers it from the shapes.
        match_classes: if the class names of the weights (`BiT.class_names`) are not those of the data, "names" takes
            the outputs by their names, and "order" in their order; None raises an error. If the data only lack some of
            the classes of the weights, the outputs are always taken by their names. Classes of ILSVRC-2012 are found
            among the outputs of published weights, those of ImageNet-21k too, by their WordNet ids.
        verbose: False shows only warnings.

    Raises:
        TypeError: an argument does not exist, or has the wrong type.
        ValueError: an argument is missing or out of its range, the data are invalid (`bit_keras.data.DataError`), the
            number or the names of the classes of the head differ from those of the data, or a logit is NaN or infinite.
        FileExistsError: `output` is a file, or a folder that is not empty.
        ConnectionError, FileNotFoundError, ImportError, bit_keras.checkpoints.CheckpointError: as `BiT.from_preset`.

    Example:
        >>> from bit_keras.evaluate.evaluator import evaluate
        >>> bit_keras.save_npz(bit_keras.BiT.from_preset("BiT-mini-R17x0.5", num_classes=10), "digits.npz")
        >>> result = evaluate("digits.npz", "digits", resolution=32, verbose=False)
        >>> result.metrics["examples"], 0 <= result.metrics["top1_accuracy"] <= 1
        (360, True)
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
    splits = _splits(source, split)
    num_examples = sum(each.num_test for each in splits)
    rule = HyperRule(source.num_train or source.num_test, source.image_size, resolution=resolution)
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
    matching = match_outputs(card.of_head(num_classes, model), num_classes, model, source, match_classes)
    names, outputs = matching.class_names, matching.outputs
    if lacking := names[source.num_classes :]:
        listed = ", ".join(shortened([repr(name) for name in lacking]))
        logger.info("classes of the weights that the data have no images of: %s", listed)

    # Predict
    classifier = network if outputs is None else Matched(network, outputs)
    num_mistakes = 0 if output is None or source.multi_label else _MISTAKES
    with contextlib.closing(_watched(itertools.chain(*batches), num_examples)) as watched:  # also removes the bar
        predictions = predict(classifier, watched, num_mistakes, source.multi_label, source.competing)
    _check_finite(predictions)

    # Measure
    multi_label = source.multi_label
    per_class = [] if multi_label else classification.per_class(predictions.labels, predictions.classes, names)
    evaluation = Evaluation(
        {
            "model": os.fspath(model),
            "dataset": source.name,
            "split": split,
            "resolution": crop,
            "fit": fit,
            **_computation(network, precision),
            "classes": len(names),
            **_numbers(predictions, per_class, matching.is_complete),
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
    if split == "all" and (source.test_split == "all" or source.evaluation_only):  # the data have no other split
        return [source]
    if split == "all":
        names = ("train",) if source.validation is None else ("train", "validation")
        return [*map(source.tested_on, names), source]
    return [source if split == "test" else source.tested_on(split)]


def _numbers(predictions: Predictions, per_class: list[dict], has_all_outputs: bool) -> dict:
    """Returns the numbers of metrics.json; those that the data do not define are None."""
    confidences = predictions.top_probabilities[:, 0]
    numbers = {
        "examples": len(predictions.is_right),
        "top1_accuracy": predictions.accuracy,
        "top5_accuracy": predictions.top_accuracy,
        "mean_per_class_accuracy": classification.mean_per_class_accuracy(per_class) if per_class else None,
        "expected_calibration_error": classification.expected_calibration_error(confidences, predictions.is_right),
        # Of a set of labels it is not defined, and without an output it is infinite.
        "cross_entropy": predictions.loss if has_all_outputs and not predictions.multi_label else None,
    }
    if predictions.among is not None:
        numbers["competing_classes"] = predictions.among.num_classes
        numbers["competing_top1_accuracy"] = predictions.among.accuracy
        numbers["competing_top5_accuracy"] = predictions.among.top_accuracy
    return numbers


def _check_output(output: str | os.PathLike, source: str | os.PathLike | data.Source) -> Path:
    folder = check_empty_folder("output", output)
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
    logger.info("%d examples in %.1f s, %s", num_examples, seconds, images_per_second(num_examples / seconds))


def _write(folder: Path, evaluation: Evaluation) -> None:
    predictions, names = evaluation.predictions, evaluation.class_names
    with whole(folder.resolve()) as temporary:  # `whole` needs a name, which "." lacks
        temporary.mkdir()
        write_json(temporary / "metrics.json", evaluation.metrics)
        _write_csv(temporary / "predictions.csv", *_prediction_rows(evaluation))
        if predictions.multi_label:
            return
        rows = [list(row.values()) for row in evaluation.per_class]
        _write_csv(temporary / "per_class.csv", list(evaluation.per_class[0]), rows)
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
        "is_right" if predictions.multi_label else "label",
        "predicted",
        *(f"class_{k}" for k in ranks),
        *(f"probability_{k}" for k in ranks),
    ]
    names = evaluation.class_names
    files = evaluation.files or itertools.repeat("")
    # An image with several labels has no column for them.
    truth = predictions.is_right if predictions.multi_label else map(names.__getitem__, predictions.labels)
    examples = zip(files, truth, predictions.top_classes, predictions.top_probabilities)
    rows = (
        [index, file, label, names[best[0]], *(names[k] for k in best), *(f"{p:.6g}" for p in scores)]
        for index, (file, label, best, scores) in enumerate(examples)
    )
    return header, rows


def _write_csv(path: Path, header: list[str], rows: Iterable[list]) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
