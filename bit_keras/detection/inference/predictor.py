"""Loads a detector once, and finds objects in images, a batch at a time."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np

from bit_keras.detection.data.augmentation import test_image, to_image
from bit_keras.detection.inference.found import Found, decoded
from bit_keras.detection.inference.opening import open_detector
from bit_keras.detection.network.decoding import IOU, KEPT, detect
from bit_keras.detection.network.detector import Detector
from bit_keras.inference.ahead import Prepared, prepared
from bit_keras.inference.inputs import Input, find
from bit_keras.network.folding import folded
from bit_keras.system.checks import WrongType, check_integer, describe, known_arguments
from bit_keras.system.logs import logger

SCORE = 0.3  # of a box that is worth showing


class _Image(NamedTuple):
    """An image as the network takes it, rows and columns that hold it there, its size, and what it was read from."""

    pixels: np.ndarray
    content_size: np.ndarray
    size: tuple[int, int]
    content: bytes | np.ndarray


class DetectionPredictor:
    """The objects in images, by one detector that is loaded once.

    The images are decoded, turned upright and resized as in evaluation. All batches of the network have the same shape,
    and memory is bounded however many images there are.

    Args:
        model: weight file of a detector or its address, or the folder of its run (best.npz, or else weights.npz); or a
            `Detector`.
        score: boxes with this score or less are left out, in [0, 1).
        resolution: side in pixels of the squares that images are resized into, 2 or more; None for that of the weights.
        batch_size: images per batch, 1 or more.
        iou: a box goes if its IoU with a better one of the same class is more than this, in [0, 1].
        limit: number of boxes to keep per image, 1 or more.

    Attributes:
        names: K names of the classes.
        resolution: side in pixels.
        score: the threshold.

    Raises:
        TypeError: `model` is something else.
        ValueError: an argument is out of its range, or the resolution of the weights is not known and not given.
        FileNotFoundError, ConnectionError, ImportError, bit_keras.checkpoints.CheckpointError: as
            `bit_keras.detection.Detector.from_preset`; or the weights are those of a classifier.

    Example:
        >>> from bit_keras.detection.inference import DetectionPredictor
        >>> detector = detection.Detector.from_preset("BiT-mini-R17x0.5", num_classes=2, width=32, depth=1)
        >>> predictor = DetectionPredictor(detector, score=0.5, resolution=64)  # loaded once
        >>> [row.file for row in predictor.iterate("photos/")]
        ['photos/0.jpg', 'photos/1.jpg']
    """

    @known_arguments((), unchecked=("model",))
    def __init__(
        self,
        model: str | os.PathLike | Detector,
        *,
        score: float = SCORE,
        resolution: int | None = None,
        batch_size: int = 8,
        iou: float = IOU,
        limit: int = KEPT,
    ):
        for name, value in {"score": score, "iou": iou}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        self._batch_size, limit = check_integer("batch_size", batch_size), check_integer("limit", limit)
        if resolution is not None:
            check_integer("resolution", resolution, minimum=2)
        if isinstance(model, str | os.PathLike):
            model = open_detector(model)
        elif not isinstance(model, Detector):
            raise WrongType(
                "model must be the weight file of a detector, the folder of its run, or a Detector; got "
                f"{describe(model)}"
            )
        self.resolution = _resolution(model, resolution)
        self.names = _names(model)
        self.score = score
        self._options = {"score": score, "iou": iou, "limit": limit}
        self._network: keras.Model = folded(model)
        self._size = 0  # images of the largest batch so far, to which smaller ones are padded

    def iterate(
        self, images, *, value_range: tuple[float, float] | None = None, with_content: bool = False
    ) -> Iterator[Found]:
        """Yields what is found in each image, in order; one that cannot be read is a row with an error.

        Args:
            images, value_range: as in `bit_keras.predict`; an iterable of paths may be endless.
            with_content: True gives the rows their `pixels`, for pictures of them.

        Raises:
            TypeError, ValueError: as `bit_keras.predict`, for what is neither a path nor an image.
        """
        for batch in prepared(find(images, value_range), self._prepare, self._batch_size):
            yield from self._rows(batch, with_content)

    def _prepare(self, each: Input) -> _Image:
        content = each.read()
        # float32 values of arrays are not rounded, as files would be.
        pixels = decoded(content) if isinstance(content, bytes) else content
        image, content_size = test_image(pixels, size=self.resolution)
        return _Image(image, content_size, pixels.shape[:2], content)

    def _rows(self, batch: Sequence[Prepared], with_content: bool) -> Iterator[Found]:
        self._size = max(self._size, len(batch))  # with those that cannot be read: they do not change the shape
        readable = [each.value for each in batch if each.error is None]
        found = iter(self._detect(readable) if readable else ())
        for name, image, error in batch:
            if error is not None:
                yield Found(name, error=error)
                continue
            objects = next(found)
            if objects is None:
                yield Found(name, size=image.size, error="the network's outputs for it are NaN or infinite")
                continue
            boxes, scores, classes = objects
            yield Found(
                name,
                to_image(boxes, image.content_size, image.size).astype(np.float32),
                tuple(scores.tolist()),
                tuple(self.names[index] for index in classes),
                tuple(classes.tolist()),
                image.size,
                content=image.content if with_content else None,
            )

    def _detect(self, images: Sequence[_Image]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
        """Returns boxes in pixels of the network's input, scores and classes per image; None if they are not finite."""
        pixels = np.stack([image.pixels for image in images])
        # The network would be traced or compiled again for another size, so a smaller batch repeats its images.
        padded = np.resize(pixels, (self._size, *pixels.shape[1:]))
        outputs = self._network.predict_on_batch(padded)
        outputs = {name: np.asarray(output, np.float32)[: len(images)] for name, output in outputs.items()}
        is_finite = [np.isfinite(logits).all() and np.isfinite(boxes).all() for logits, boxes in zip(*outputs.values())]
        outputs = {name: np.nan_to_num(output, posinf=0, neginf=0) for name, output in outputs.items()}
        sizes = [image.content_size for image in images]
        columns = detect(outputs, (self.resolution, self.resolution), sizes, **self._options)
        rows = zip(is_finite, *columns)
        return [
            (boxes[:num], scores[:num], classes[:num]) if valid else None for valid, boxes, scores, classes, num in rows
        ]


def _resolution(model: Detector, resolution: int | None) -> int:
    known = model.resolution
    if resolution is None and known is None:
        raise WrongType("resolution must be given: the weights do not state that of their training")
    if None not in (resolution, known) and resolution != known:
        logger.warning("%d pixels were asked for, but the weights are for %d", resolution, known)
    logger.info("images in squares of %d pixels", resolution or known)
    return resolution or known


def _names(model: Detector) -> tuple[str, ...]:
    if model.class_names is not None:
        return tuple(model.class_names)
    logger.warning(
        'the names of the classes are not known, so that they are called "class 0" to "class %d"; the card of the '
        "detector names them",
        model.num_classes - 1,
    )
    return tuple(f"class {index}" for index in range(model.num_classes))
