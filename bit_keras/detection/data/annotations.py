"""Images with boxes, independent of how they are stored.

A box is [top, left, bottom, right], as pixels of its upright image: its edges, not the centres of its outermost pixels,
so that the whole image of 20 rows and 30 columns is [0, 0, 20, 30].
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bit_keras.data import content
from bit_keras.data.errors import DataError
from bit_keras.data.held_out import hold_out
from bit_keras.data.loaders import limits
from bit_keras.data.source import Source

BOX_FORMATS = ("xyxy", "yxyx", "xywh")


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
    """The G boxes of one image.

    Attributes:
        corners: float32 [G, 4], [top, left, bottom, right] in pixels of the upright image.
        labels: int32 [G], indices of class names.
        ignored: bool [G], True for a group of objects (COCO's crowds) or an object that need not be found (VOC's
            difficult ones): it is left out of training, and in evaluation what finds it counts neither as right nor as
            wrong.
        areas: float64 [G], areas of the objects in square pixels, by which COCO's evaluation tells small from large
            ones: those of the file, else those of the boxes.
    """

    corners: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: np.ndarray) -> "Boxes":
        """Returns the boxes at these indices, or where this mask is True."""
        return Boxes(self.corners[chosen], self.labels[chosen], self.ignored[chosen], self.areas[chosen])


class Images(Protocol):
    """Images with random access: `data.examples.Examples` or `data.sources.tfrecords.Records`."""

    def __len__(self) -> int:
        """Number of images."""

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an upright image, uint8 [H, W, 3], and what is not used here; raises DataError with its name."""

    def take(self, indices: np.ndarray) -> "Images":
        """The images at these indices."""

    def fits_in(self, limit: int) -> bool:
        """See `bit_keras.data.source.Split`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Annotated:
    """N images with their boxes, a `bit_keras.data.source.Split`.

    Attributes:
        images: N images, which are read when they are needed.
        boxes: the boxes of each image, [N].
        ids: name or number of each image in its data, [N]: COCO's image ids; else the path of its file below the folder
            of the data.
        sizes: int32 [N, 2], height and width in pixels of each upright image.
    """

    images: Images
    boxes: tuple[Boxes, ...]
    ids: tuple[int | str, ...]
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def num_boxes(self) -> int:
        """Number of boxes without ignored ones."""
        return sum(int(np.count_nonzero(~boxes.ignored)) for boxes in self.boxes)

    @property
    def names(self) -> list[str]:
        """Names of the images for messages: their files, where images are files; else their ids."""
        if getattr(self.images, "in_files", False):
            return [limits.printable(path) for path in self.images.images]
        return list(map(str, self.ids))

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int64 [N, L], the classes of each image, padded with -1; L is 1 or more."""
        found = [np.unique(boxes.labels[~boxes.ignored]) for boxes in self.boxes]
        padded = np.full((len(found), max([1, *map(len, found)])), -1, np.int64)
        for row, classes in zip(padded, found, strict=True):
            row[: len(classes)] = classes
        return padded

    def read(self, index: int) -> tuple[np.ndarray, Boxes]:
        """Returns an image, uint8 [H, W, 3], and its boxes.

        Raises:
            DataError: the image cannot be read, or its size has changed since the data were opened.
        """
        image, _ = self.images.read(index)
        height, width = self.sizes[index].tolist()
        if image.shape[:2] != (height, width):
            raise DataError(
                f"{self.names[index]} must have {width}x{height} pixels, as when the data were opened, got "
                f"{image.shape[1]}x{image.shape[0]}: its boxes no longer fit"
            )
        return image, self.boxes[index]

    def take(self, indices: np.ndarray) -> "Annotated":
        boxes, ids = (tuple(column[index] for index in indices) for column in (self.boxes, self.ids))
        return Annotated(self.images.take(indices), boxes, ids, self.sizes[indices])

    subset = take

    def fits_in(self, limit: int) -> bool:
        """See `bit_keras.data.source.Split`."""
        return self.images.fits_in(limit)

    def fingerprint(self, *others: object) -> str:
        """Returns a hash of the ids, sizes and boxes, and of other values by their `repr`."""
        digest = hashlib.sha256(repr((others, self.ids, self.sizes.shape)).encode())
        digest.update(np.ascontiguousarray(self.sizes, np.int32))
        for boxes in self.boxes:
            for column in (boxes.corners, boxes.labels, boxes.ignored, boxes.areas):
                digest.update(repr(column.shape).encode())
                digest.update(np.ascontiguousarray(column))
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DetectionSource(Source):
    """Images with boxes of one task, made by `bit_keras.detection.data.loading.open_dataset`.

    Its splits are `Annotated`; the other attributes and the methods are those of `Source`, such as `hold_out`, which
    takes a share of the training images, and `tested_on`.

    Attributes:
        category_ids: the number of each class in its data, [K]: COCO's category ids, 1 to 90 with gaps; else 1 to K.

    Example:
        >>> detection.open_dataset("coco:boxes", verbose=False)
        DetectionSource(...: 8 training and 2 test examples of 1 classes)
    """

    multi_label: bool = True
    category_ids: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"DetectionSource({self.name}: {self.describe_splits()} of {self.num_classes:,} classes)"

    def check_one_label(self, what: str) -> None:
        """Raises DataError: images have boxes."""
        raise DataError(f"{what} takes one label per image; {self.name} has boxes, which are for bit_keras.detection")

    def _divide_train(self, share: float, seed: int, purpose: str) -> tuple[Annotated, Annotated]:
        return divide(self.train, share, seed, purpose)

    def with_content(self) -> "DetectionSource":
        """Returns a source whose identity also has a hash of the content of its files."""
        of_images = {
            name: split.images
            for name in ("train", "test", "validation")
            if isinstance(split := getattr(self, name), Annotated)
        }
        found = content.with_content(dataclasses.replace(self, **of_images))
        return dataclasses.replace(self, identity=found.identity)


def divide(split: Annotated, share: float, seed: int, purpose: str) -> tuple[Annotated, Annotated]:
    """Returns images without a share of them, and that share; both have boxes.

    The share is taken of the images with boxes and of those without separately.

    Args:
        split: the images.
        share: fraction of the images, in (0, 1).
        seed: of the choice, in [0, 2**32).
        purpose: what both are for, see `held_out.hold_out`.

    Raises:
        DataError: fewer than two images have boxes.
    """
    has_boxes = np.array([not boxes.ignored.all() for boxes in split.boxes])
    if has_boxes.sum() < 2:
        raise DataError(f"images with boxes must be 2 or more, {purpose}, got {has_boxes.sum()}")
    chosen = np.zeros(len(split), bool)
    for members in (np.flatnonzero(has_boxes), np.flatnonzero(~has_boxes)):
        if len(members) >= 2:
            labels = np.zeros(len(members), np.int64)
            chosen[members[hold_out(labels, ["any"], share, seed, purpose)]] = True
    return tuple(split.subset(np.flatnonzero(part)) for part in (~chosen, chosen))


def corners_of(values: Sequence[Sequence[float]] | np.ndarray, box_format: str) -> np.ndarray:
    """Returns boxes as [top, left, bottom, right].

    Args:
        values: [G, 4].
        box_format: "xyxy" for [left, top, right, bottom]; "yxyx"; "xywh" for [left, top, width, height].

    Returns:
        float64 [G, 4].
    """
    values = np.asarray(values, np.float64).reshape(-1, 4)
    if box_format == "yxyx":
        return values
    left, top, right, bottom = values.T
    if box_format == "xywh":
        right, bottom = left + right, top + bottom
    return np.stack([top, left, bottom, right], axis=-1)
