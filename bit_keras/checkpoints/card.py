"""The card of weights: what a network needs beside them to be used, and where they come from.

Every file that the library writes carries its card as JSON. Readers are in `readers`, beside those of the weights.
"""

import dataclasses
import json
import os
from collections.abc import Mapping

from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.system.logs import logger
from bit_keras.system.version import VERSION
from bit_keras.zoo.fits import FITS
from bit_keras.zoo.presets import Preset

# Name of the card in npz files and safetensors metadata, and of the asset of a SavedModel.
KEY = "bit_keras_card"
# Most bytes of a card; one with the names of ImageNet-21k's classes has about a million.
MAX_BYTES = 2**23


@dataclasses.dataclass(frozen=True)
class Card:
    """What is known about the weights of a network; None where it is not known.

    Attributes:
        variant: name of the architecture.
        task: "detection" for a detector; classifiers have none.
        class_names: names of the outputs of the head, in their order.
        labels: name of the published list of classes (`bit_keras.class_names`) of the head.
        resolution: side in pixels of the images to evaluate and serve at.
        training_resolution: side in pixels of the images in training.
        input_range: values of the images that the network takes.
        resize: how an image becomes a square, "squash", as in the paper, "pad", "crop" or "inner"; see
            `bit_keras.data.train_batches`.
        orientation: how an image is turned before that; "exif": upright, by its EXIF orientation.
        weights: what the training started from, the name of published weights or of a file.
        data: description of the training data, `bit_keras.data.Source.describe()`: name, numbers of images and
            fingerprint.
        accuracy: top-1 accuracy in [0, 1].
        accuracy_on: images that the accuracy was measured on.
        licence: of the weights.
        version: version of this library that wrote the card.

    Example:
        >>> card = bit_keras.BiT.from_preset("BiT-mini-R17x0.5").card
        >>> card.variant, card.resolution, card.input_range, card.licence
        ('R17x0.5', 32, (-1.0, 1.0), 'Apache-2.0')
    """

    variant: str | None = None
    task: str | None = None
    class_names: tuple[str, ...] | None = None
    labels: str | None = None
    resolution: int | None = None
    training_resolution: int | None = None
    input_range: tuple[float, float] = (-1.0, 1.0)
    resize: str = "squash"
    orientation: str = "exif"
    weights: str | None = None
    data: Mapping | None = None
    accuracy: float | None = None
    accuracy_on: str | None = None
    licence: str | None = None
    version: str = VERSION

    def to_dict(self) -> dict:
        """Returns the known values, JSON-able."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        return json.loads(json.dumps(known))  # lists for tuples

    def to_json(self) -> str:
        """Returns the known values as JSON, equal for equal cards."""
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    def of_head(self, num_classes: int, path: str | os.PathLike) -> "Card":
        """Returns the card without class names, with a warning, if a head does not have an output for each of them.

        Args:
            num_classes: outputs of the head.
            path: the file, for the message.
        """
        if self.class_names is None or len(self.class_names) == num_classes:
            return self
        logger.warning(
            "%s names %d classes, but its head has %d outputs; the names are not used",
            *(path, len(self.class_names), num_classes),
        )
        return dataclasses.replace(self, class_names=None)

    @classmethod
    def from_dict(cls, values, path: str | os.PathLike) -> "Card":
        """Returns the card in a file; unknown names, of later versions, are passed over.

        Args:
            values: as returned by `to_dict`, but from a file and thus unchecked.
            path: the file, for messages.

        Raises:
            CheckpointError: a value has the wrong type.
        """
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: its card must be a JSON object, got {type(values).__name__}")
        known = {name: values[name] for name in _CHECKS if values.get(name) is not None}
        for name, value in known.items():
            if not _CHECKS[name](value):
                raise CheckpointError(
                    f"{path}: {name} of its card has the invalid value {str(value)[:100]!r}; "
                    "bit_keras.load_weights reads the weights without it"
                )
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})

    @classmethod
    def from_json(cls, text: str | bytes, path: str | os.PathLike) -> "Card":
        """As `from_dict`, for the result of `to_json`."""
        if len(text) > MAX_BYTES:
            raise CheckpointError(f"{path}: its card has {len(text):,} bytes; at most {MAX_BYTES:,} are read")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: its card must be JSON: {error}") from error
        return cls.from_dict(values, path)

    @classmethod
    def of_preset(cls, row: Preset) -> "Card":
        """Returns the card of published weights."""
        return cls(
            variant=row.variant,
            class_names=row.class_names,
            labels=row.labels,
            resolution=row.evaluation_resolution or row.training_resolution,
            training_resolution=row.training_resolution,
            input_range=row.input_range,
            weights=row.name,
            data={"name": row.dataset},
            accuracy=None if row.accuracy is None else row.accuracy / 100,
            accuracy_on=row.accuracy and f"the validation images of ILSVRC-2012 ({row.accuracy_source})",
            licence=row.licence,
        )


def origin(name: str | os.PathLike) -> str:
    """Returns the name of weights or data for a card, which others may read: without local folders and URL queries."""
    name = os.fspath(name)
    return name.partition("?")[0] if "://" in name else os.path.basename(os.path.normpath(name))


def _is_text(value) -> bool:
    return isinstance(value, str)


def _is_pixels(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _are_names(value) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_range(value) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value)


_CHECKS = {
    "variant": _is_text,
    "task": _is_text,
    "class_names": _are_names,
    "labels": _is_text,
    "resolution": _is_pixels,
    "training_resolution": _is_pixels,
    "input_range": _is_range,
    "orientation": lambda value: value == "exif",
    "resize": lambda value: _is_text(value) and value in FITS,
    "weights": _is_text,
    "data": lambda value: isinstance(value, dict),
    "accuracy": lambda value: isinstance(value, float | int) and 0 <= value <= 1,
    "accuracy_on": _is_text,
    "licence": _is_text,
    "version": _is_text,
}
