"""Names of the classes of ILSVRC-2012 and ImageNet-21k, in the order of the published heads.

Source: the label files in the official bucket, with one WordNet id or one line of lemmas per class.
"""

import collections
import functools
import importlib.util
import re
from pathlib import Path

import keras
import numpy as np

from bit_keras.checkpoints import CheckpointError, fetch
from bit_keras.system.checks import WrongType, check_choice, check_integer, describe, known_arguments
from bit_keras.zoo.label_lists import list_of
from bit_keras.zoo.presets import BUCKET, LABELS, default_activation

_REMEDY = "delete it and the .sha256 beside it to download it again"


@known_arguments
def class_names(labels: str) -> tuple[tuple[str, str], ...]:
    """Returns (WordNet id, lemmas) of each class, for example ("n02123045", "tabby, tabby_cat").

    Args:
        labels: "ilsvrc2012" (1000 classes) or "imagenet21k" (21,843). The files are downloaded on first use.

    Raises:
        ValueError: `labels` has another value.
        ConnectionError: the files cannot be downloaded.
        bit_keras.checkpoints.CheckpointError: the contents of a file are invalid.

    Example:
        >>> bit_keras.class_names("ilsvrc2012")[281]
        ('n02123045', 'tabby, tabby_cat')
    """
    check_choice("labels", labels, tuple(LABELS))
    return _class_names(labels)


def wordnet_ids(labels: str) -> tuple[str, ...]:
    """Returns the WordNet id of each class; those of ILSVRC-2012 without a download where TFDS is installed.

    Args, Raises: as `class_names`.
    """
    return _of_tfds() if labels == "ilsvrc2012" and _of_tfds() else _read_ids(labels)


@functools.cache
def _of_tfds() -> tuple[str, ...]:
    """Returns the WordNet ids in the package TensorFlow Datasets, () if it is not installed or has other ones."""
    package = importlib.util.find_spec("tensorflow_datasets")
    path = Path(package.origin).parent.joinpath("datasets", "imagenet2012", "labels.txt") if package else None
    ids = path.read_text(encoding="utf-8").split() if path and path.is_file() else []
    return tuple(ids) if list_of(ids) == "ilsvrc2012" else ()


@functools.cache
def _class_names(labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(zip(_read_ids(labels), _read(labels, "lemmas", rule=r"\S.*")))


def _read_ids(labels: str) -> tuple[str, ...]:
    ids = _read(labels, "ids", rule=r"n[0-9]{8}")
    twice = [wordnet_id for wordnet_id, count in collections.Counter(ids).items() if count > 1]
    if twice:
        raise CheckpointError(
            f"the file of WordNet ids of {labels} must contain each id once, got {twice} repeatedly; {_REMEDY}"
        )
    return tuple(ids)


@known_arguments((), unchecked=("top",))
def decode_predictions(logits, top: int = 5, activation: str | None = None) -> list[list[tuple[str, str, float]]]:
    """Returns the names of the classes with the highest scores of a published head, as in `keras.applications`.

    Args:
        logits: [N, 1000] for the classes of ILSVRC-2012 or [N, 21843] for those of ImageNet-21k; a tensor of the
            backend or an array.
        top: number of classes per image, 1 to the number of classes.
        activation: "softmax", "sigmoid", or "linear" if scores are the logits themselves; None for softmax with 1000
            classes and sigmoid with 21,843. Computed in float64.

    Returns:
        For each image the classes with the highest scores, in falling order, as (WordNet id, name, score). The name is
        the first lemma, with "_" for a space: "tabby". Classes with equal logits keep their order.

    Raises:
        ValueError: an argument is out of its range, or a logit is NaN or infinite.
        ConnectionError, bit_keras.checkpoints.CheckpointError: see `class_names`.

    Example:
        >>> logits = np.zeros((1, 1000))
        >>> logits[0, 281] = 10
        >>> bit_keras.decode_predictions(logits, top=1)
        [[('n02123045', 'tabby', 0.956...)]]
    """
    logits = _array(logits)
    sizes = {size: name for name, size in LABELS.items()}
    if logits.ndim != 2 or logits.shape[1] not in sizes:
        raise ValueError(
            f"logits must be [N, K] with K in {list(sizes)}, got shape {logits.shape}; a fine-tuned model has class "
            "names of its own"
        )
    labels, num_classes = sizes[logits.shape[1]], logits.shape[1]
    if check_integer("top", top) > num_classes:
        raise ValueError(f"top must be an integer in [1, {num_classes}], got {top!r}")
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite, got NaN or infinity")
    scores = _activate(logits, default_activation(num_classes) if activation is None else activation)
    # Logits are ranked, not scores: the scores of confident predictions all round to 1.
    order = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    names = [(wordnet_id, first_lemma(lemmas)) for wordnet_id, lemmas in class_names(labels)]
    return [[(*names[k], float(row[k])) for k in best] for row, best in zip(scores, order)]


def _array(logits) -> np.ndarray:
    try:
        array = keras.ops.convert_to_numpy(logits)
        if not np.iscomplexobj(array):
            return array.astype("float64")
    except (TypeError, ValueError, AttributeError, OverflowError):
        pass
    raise WrongType(f"logits must be an array or a tensor [N, K] of numbers, got {describe(logits)}")


def _read(labels: str, content: str, rule: str) -> list[str]:
    """Returns the lines of a label file, "ids" or "lemmas"; each must match the regular expression `rule`."""
    path = fetch(f"{BUCKET}/{labels}_wordnet_{content}.txt")
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} must be UTF-8: {error}; {_REMEDY}") from error
    if len(lines) != LABELS[labels]:
        raise CheckpointError(f"{path} must have {LABELS[labels]} lines, got {len(lines)}; {_REMEDY}")
    for number, line in enumerate(lines, start=1):
        if not re.fullmatch(rule, line):
            raise CheckpointError(f"{path}: line {number} must match {rule!r}, got {line!r}; {_REMEDY}")
    return lines


def first_lemma(lemmas: str) -> str:
    """Returns the first of the lemmas of a class, with "_" for a space: "tabby" of "tabby, tabby_cat"."""
    return lemmas.partition(",")[0].strip().replace(" ", "_")


def _activate(logits: np.ndarray, activation: str) -> np.ndarray:
    """Returns scores of shape [N, K], as the logits; no exponential overflows."""
    if activation == "softmax":
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)
    if activation == "sigmoid":
        return np.exp(-np.logaddexp(0, -logits))
    if activation == "linear":
        return logits
    raise ValueError(f'activation must be "softmax", "sigmoid" or "linear", got {activation!r}')
