"""Loads a classifier once, and turns images into rows, a batch at a time."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bit_keras.checkpoints import provenance
from bit_keras.checkpoints.card import Card
from bit_keras.inference.ahead import Prepared, prepared
from bit_keras.inference.classifier import local_weights, open_classifier, with_features
from bit_keras.inference.image_reader import ImageReader
from bit_keras.inference.inputs import find
from bit_keras.inference.prediction import Prediction
from bit_keras.metrics import classification
from bit_keras.metrics.predictions import outputs_of
from bit_keras.network import class_names as published
from bit_keras.system.checks import check_choice, check_integer, check_kind, known_arguments
from bit_keras.system.logs import doing, logger
from bit_keras.system.paths import expanded
from bit_keras.system.texts import read_names
from bit_keras.zoo.precisions import PRECISIONS
from bit_keras.zoo.presets import LABELS, default_activation


class Predictor:
    """The classes of images, by one network that is loaded once.

    The images are decoded, turned upright and resized as in evaluation. All batches of the network have the same shape,
    and memory is bounded however many images there are.

    Args:
        model: name of published weights; path or address of a file that `BiT.from_preset` reads; folder of a run, whose
            best.npz is taken, or weights.npz if there is none; SavedModel directory, which is run itself. Or a `BiT`,
            or another Keras model of images [N, H, W, 3] in [-1, 1] to logits [N, K].
        top: number of classes per image, 1 or more; at most all of them are returned.
        class_names: the K names in the order of the outputs; the path of a text file with one per line; or
            "ilsvrc2012" or "imagenet21k". None for those that the weights carry.
        resolution: side in pixels to which images are resized, 1 or more; None for that of the weights, or 224 if they
            have none.
        precision: "float32", "mixed_bfloat16" or "mixed_float16"; a SavedModel and a Keras model have their own.
        batch_size: images per batch, 1 or more.
        loader: whose decoders to use: "tf.data" for those of TensorFlow, "grain" for Pillow's, None for TensorFlow's if
            it is installed. They differ in some pixels of a JPEG file.
        features: True gives the predictions their pooled features; only a BiT has them.

    Attributes:
        names: K names of the classes.
        resolution: side in pixels.
        top: number of classes per image.
        read: the function from an `Input` to the array of it that `predict` takes.

    Raises:
        TypeError: `model` is something else.
        ValueError: an argument is out of its range, the number of names is not that of the outputs, or `model` has no
            features.
        FileNotFoundError, ConnectionError, ImportError, bit_keras.checkpoints.CheckpointError: as `BiT.from_preset`.

    Example:
        >>> from bit_keras.inference.predictor import Predictor
        >>> predictor = Predictor("BiT-mini-R17x0.5", top=3)  # loaded once
        >>> for folder in ("photos", "birds"):
        ...     print(folder, sum(row.error is None for row in predictor.iterate(folder)))
        photos 2
        birds 20
    """

    @known_arguments
    def __init__(
        self,
        model,
        *,
        top: int = 5,
        class_names: str | os.PathLike | Sequence[str] | None = None,
        resolution: int | None = None,
        precision: str = "float32",
        batch_size: int = 32,
        loader: str | None = None,
        features: bool = False,
    ):
        top = check_integer("top", top)
        check_choice("precision", precision, PRECISIONS)
        self._batch_size = check_integer("batch_size", batch_size)
        if resolution is not None:
            check_integer("resolution", resolution)
        if isinstance(model, str | os.PathLike):
            model = check_kind("model", model, str | os.PathLike)
            self._network, card, (self.resolution, reason) = _open(expanded(model), resolution, precision)
        else:
            self._network, card, (self.resolution, reason) = _of_object(model, resolution, precision)
        logger.info("images at %d pixels: %s", self.resolution, reason)
        num_classes = self._network.output_shape[-1]
        self.names = choose_names(class_names, card.of_head(num_classes, _title(model)), num_classes)
        self.top = min(top, num_classes)
        self._sigmoid = default_activation(num_classes) == "sigmoid"
        self._has_features = features
        if features:
            self._network = with_features(self._network)
        self.read = ImageReader(self.resolution, card.resize, loader)
        self._lock = threading.Lock()
        self._size = 0  # images of the largest batch so far, to which smaller ones are padded

    def iterate(
        self, images, *, value_range: tuple[float, float] | None = None, thumbnails: int | None = None
    ) -> Iterator[Prediction]:
        """Yields a prediction for each image, in order; one that cannot be read is a prediction with an error.

        Args:
            images, value_range: as in `bit_keras.predict`; an iterable of paths may be endless.
            thumbnails: side in pixels of `Prediction.thumbnail`, 1 or more; None for none.

        Raises:
            TypeError, ValueError: as `bit_keras.predict`, for what is neither a path nor an image.
        """
        for batch in prepared(find(images, value_range), self.read, self._batch_size):
            yield from self.predict(batch, thumbnails)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 logits [N, K] of images [N, resolution, resolution, 3] in [-1, 1]."""
        return self._outputs(images)[0]

    def predict(self, batch: Sequence[Prepared], thumbnails: int | None = None) -> Iterator[Prediction]:
        """Yields a prediction for each image of a batch, in order, by one call of the network.

        Args:
            batch: images as `read` returns them, or the reasons why they cannot be read.
            thumbnails: as in `iterate`.
        """
        self._size = max(self._size, len(batch))  # with those that cannot be read: they do not change the shape
        images = {number: each.value for number, each in enumerate(batch) if each.error is None}
        rows = dict(zip(images, self._rows(np.stack(list(images.values()))))) if images else {}
        for number, (name, _, error) in enumerate(batch):
            if error is not None:
                yield Prediction(name, error=error)
            elif rows[number] is None:
                yield Prediction(name, error="the network's outputs for it are NaN or infinite")
            else:
                small = None if thumbnails is None else _thumbnail(images[number], thumbnails)
                indices, probabilities, features = rows[number]
                names = tuple(self.names[index] for index in indices)
                yield Prediction(name, names, probabilities, indices, thumbnail=small, features=features)

    def _outputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns logits [N, K], and features [N, D] if they were asked for."""
        with self._lock:  # on jax a network other than a BiT must not be called by two threads at once
            self._size = max(self._size, len(images))
            outputs = outputs_of(self._network, np.asarray(images, np.float32), self._size)
        return tuple(outputs) if self._has_features else (outputs, None)

    def _rows(self, images: np.ndarray) -> list[tuple[tuple[int, ...], tuple[float, ...], np.ndarray | None] | None]:
        """Returns indices and probabilities of the most likely classes, and features; None if logits are not finite."""
        logits, features = self._outputs(images)
        is_finite = np.isfinite(logits).all(axis=1)
        logits = np.where(is_finite[:, None], logits, 0)
        classes, probabilities = classification.top_classes(logits, self.top)
        if self._sigmoid:
            probabilities = np.exp(-np.logaddexp(0, -np.take_along_axis(logits, classes, 1).astype(np.float64)))
        features = [None] * len(logits) if features is None else features
        rows = zip(is_finite, classes.tolist(), probabilities.tolist(), features)
        return [(tuple(best), tuple(shares), pooled) if valid else None for valid, best, shares, pooled in rows]


def _open(model: str | os.PathLike, resolution: int | None, precision: str) -> tuple:
    file = local_weights(model)
    unknown = provenance.UNKNOWN_RESOLUTION, "the training resolution of the weights is not known"
    with doing(f"loading {file}"):
        network = open_classifier(file, precision=precision)
    return network, provenance.read_card(file), provenance.choose_resolution(file, resolution, unknown)


def _of_object(model, resolution: int | None, precision: str) -> tuple:
    shape = getattr(model, "output_shape", None)
    if not callable(getattr(model, "predict_on_batch", None)) or not isinstance(shape, tuple) or len(shape) != 2:
        raise TypeError(
            "model must be a preset, a path or an address of weights, the folder of a run, a SavedModel directory, or "
            f"a Keras model of images to logits [N, K]; got a value of type {type(model).__name__}"
        )
    if precision != "float32":
        raise ValueError(f"a Keras model has its own precision, got precision={precision!r} in addition")
    card = getattr(model, "card", None) or Card()
    if resolution is not None:
        return model, card, (resolution, "asked for")
    if card.resolution is not None:
        return model, card, (card.resolution, "the weights are for it (model.resolution)")
    return model, card, (provenance.UNKNOWN_RESOLUTION, "model.resolution is not known")


def _title(model) -> str:
    return os.fspath(model) if isinstance(model, str | os.PathLike) else f"the model {getattr(model, 'name', '')!r}"


def choose_names(given, card: Card, num_classes: int) -> tuple[str, ...]:
    """Returns the names of the outputs: those given, those of the card, or "class 0" and so on.

    Args:
        given: as `class_names` of `Predictor`.
        card: of weights with this head; see `Card.of_head`.
        num_classes: K.

    Raises:
        ValueError, FileNotFoundError: as `Predictor`.
    """
    if given is not None:
        names = given_names(given)
        if len(names) != num_classes:
            raise ValueError(
                f"class_names must be a name for each output of the network, got {len(names):,} for {num_classes:,}"
            )
        return names
    if card.class_names is not None:
        return card.class_names
    fault = "the names of the classes are not known"
    if card.labels in LABELS and LABELS[card.labels] == num_classes:
        try:
            return _published_names(card.labels)
        except ConnectionError as error:
            fault = f"the names of the classes cannot be downloaded ({error})"
    lists = [f", or --class_names={name}" for name, size in LABELS.items() if size == num_classes]
    logger.warning(
        '%s, so that they are called "class 0" to "class %d"; name them by --class_names=FILE, with one name per line '
        "in the order of the outputs%s",
        *(fault, num_classes - 1, "".join(lists)),
    )
    return tuple(f"class {index}" for index in range(num_classes))


def given_names(given: Sequence[str] | str | os.PathLike) -> tuple[str, ...]:
    """Returns names of classes.

    Args:
        given: as `class_names` of `Predictor`, but not None.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: a file is no text or does not exist, or a list cannot be
            downloaded.
    """
    if not isinstance(given, str | os.PathLike):
        return tuple(given)
    if given in LABELS and not Path(given).exists():
        return _published_names(given)
    try:
        return tuple(read_names("class_names", expanded(given)))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"class_names must be a file or one of {', '.join(LABELS)}; no such file: {given}"
        ) from error


def _published_names(labels: str) -> tuple[str, ...]:
    return tuple(published.first_lemma(lemmas) for _, lemmas in published.class_names(labels))


def _thumbnail(image: np.ndarray, side: int) -> np.ndarray:
    """Returns an image in [-1, 1] as uint8 [side, side, 3]."""
    pixels = np.clip(np.round(image * 127.5 + 127.5), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
