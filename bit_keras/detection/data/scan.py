"""Checks all images and boxes before training, so that training does not fail on one, or learn from a wrong one."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.examples import Examples
from bit_keras.data.loaders import limits
from bit_keras.data.sources.image_files import check_images
from bit_keras.detection.data.annotations import Annotated, Boxes
from bit_keras.system.logs import logger
from bit_keras.system.texts import counted, one_line

_TOLERANCE = 1.0  # pixels by which a box may leave its image, as rounding and other conventions have it; it is clipped
_SMALLEST = 2  # pixels of the sides of an image: what is smaller stands for a failed download
_PER_IMAGE = 3  # most faults of one image in a message
_WAY_OUT = "skip_unreadable leaves out these images, with all their boxes"
TURNED = (
    "the EXIF orientation of the file turns it, and the boxes are those of the image before: remove the orientation "
    "from the file (exiftool -Orientation= FILE)"
)


@dataclasses.dataclass(eq=False)
class Entry:
    """An image as a file of annotations lists it, before it is checked.

    Attributes:
        path: the image file.
        id: name or number of the image in its data.
        corners: float64 [G, 4], [top, left, bottom, right] in pixels, or relative to the image.
        labels: int32 [G]. A box of an unknown class is not here, but in `faults`.
        ignored: bool [G], see `Boxes`.
        areas: float64 [G] in square pixels; NaN for the area of the box.
        size: (height, width) that the file of annotations states; None if it does not.
        relative: True for corners in [0, 1].
        faults: what is known to be wrong.
    """

    path: Path
    id: int | str
    corners: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    size: tuple[int, int] | None = None
    relative: bool = False
    faults: list[str] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        return limits.printable(self.path)


def checked(
    where: str, root: Path, splits: Mapping[str, Sequence[Entry]], skip_unreadable: bool = False, hint: str = ""
) -> dict[str, Annotated]:
    """Returns the images and boxes of all splits, after every image was decoded once to check it.

    What the annotations show is checked before any image is read. A box that leaves its image by a pixel or less is
    clipped.

    Args:
        where: name of the data, for messages.
        root: folder of the data.
        splits: {name of a split in the data, "" where there is one only: its images}.
        skip_unreadable: True leaves out, and logs, the images that have a fault or cannot be read, with all their
            boxes: an image without one of its boxes would teach that nothing is there.
        hint: what may explain boxes outside of their images, for messages.

    Raises:
        DataError: an image has a fault, or cannot be read; `files` are all such images. Or a split has no image or no
            box.
    """
    splits = {name: list(entries) for name, entries in splits.items()}
    _check_twins(splits)
    for name, entries in splits.items():
        if all(entry.ignored.all() and not entry.faults for entry in entries):
            raise _without_boxes(where, name, len(entries))
    everything = [entry for entries in splits.values() for entry in entries]
    _report(everything, skip_unreadable, hint, ((entry, _faults_of_annotations(entry)) for entry in everything))
    usable = [entry for entry in everything if not entry.faults]
    try:
        sizes, digests = check_images(root, [entry.path for entry in usable], skip_unreadable)
    except DataError as error:
        raise DataError(f"{error}\n{_WAY_OUT}", error.files) from error
    usable = [entry for entry in usable if entry.path in sizes]
    _report(usable, skip_unreadable, hint, ((entry, _faults_of_image(entry, sizes[entry.path])) for entry in usable))
    return {
        name: _annotated(where, name, [e for e in entries if not e.faults and e.path in sizes], sizes, digests)
        for name, entries in splits.items()
    }


def check_max_boxes(split: Annotated, max_boxes: int) -> None:
    """Raises DataError if an image has more boxes to train on than a batch has room for; the message lists them."""
    counts = [int(np.count_nonzero(~boxes.ignored)) for boxes in split.boxes]
    faults = [f"{one_line(str(name))}: {count}" for name, count in zip(split.ids, counts) if count > max_boxes]
    if faults:
        rule = (
            f"an image must have at most max_boxes={max_boxes} boxes, to which those of all images are padded; "
            f"max_boxes={max(counts)} takes all. Got more in {len(faults):,} of {counted(len(counts), 'image')}:"
        )
        raise DataError("\n  ".join([rule, *shortened(faults)]))


def box_faults(corners: np.ndarray, size: tuple[int, int] | None) -> list[str]:
    """Returns what is wrong with boxes, float64 [G, 4] in pixels, of an image of this (height, width), if known."""
    faults = []
    for number, (top, left, bottom, right) in enumerate(corners.tolist(), 1):
        box = f"box {number} [top {top:g}, left {left:g}, bottom {bottom:g}, right {right:g}]"
        if not np.isfinite((top, left, bottom, right)).all():
            faults.append(f"{box} must have finite numbers")
        elif not (bottom > top and right > left):
            faults.append(f"{box} is empty")
        elif size is not None:
            height, width = size
            if min(top, left, height - bottom, width - right) < -_TOLERANCE:
                faults.append(f"{box} leaves the image of {width}x{height} pixels")
            elif min(bottom, height) <= max(top, 0) or min(right, width) <= max(left, 0):
                faults.append(f"{box} is beside the image of {width}x{height} pixels")
    return faults


def clipped(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns boxes [G, 4], clipped to an image of this (height, width) in pixels, float32."""
    height, width = size
    return np.clip(corners, 0, [height, width, height, width]).astype(np.float32)


def boxes_of(entry: Entry, size: tuple[int, int]) -> Boxes:
    """Returns the boxes of an image of this (height, width), clipped to it."""
    corners = clipped(_in_pixels(entry, size), size)
    height, width = (corners[:, 2:].astype(np.float64) - corners[:, :2]).T
    areas = np.where(np.isnan(entry.areas), height * width, entry.areas)
    return Boxes(corners, entry.labels.astype(np.int32), entry.ignored.astype(bool), areas)


def faults_in(entry: Entry, size: tuple[int, int]) -> list[str]:
    """Returns what is wrong with the boxes of an image of this (height, width), or with its size."""
    if min(size) < _SMALLEST:
        return [f"has {size[1]}x{size[0]} pixels; images must have {_SMALLEST}x{_SMALLEST} or more"]
    return box_faults(_in_pixels(entry, size), size)


def report(faults: Mapping[str, Sequence[str]], num_images: int, skip_unreadable: bool, hint: str = "") -> None:
    """Raises DataError that lists the faults of {image: its faults}, or logs them if the images are left out."""
    if not faults:
        return
    listed = [f"{name}: {'; '.join(_first(found))}" for name, found in faults.items()]
    message = "\n  ".join([f"{len(faults):,} of {counted(num_images, 'image')} cannot be used:", *shortened(listed)])
    is_outside = any("the image of" in fault for found in faults.values() for fault in found)
    if is_outside and hint:
        message = f"{message}\n{hint}"
    if not skip_unreadable:
        raise DataError(f"{message}\n{_WAY_OUT}", files=list(faults))
    logger.warning("left out, %s", message)


def _first(faults: Sequence[str]) -> list[str]:
    more = len(faults) - _PER_IMAGE
    return [one_line(fault) for fault in faults[:_PER_IMAGE]] + ([f"and {more} more"] if more > 0 else [])


def _report(
    entries: Sequence[Entry], skip_unreadable: bool, hint: str, found: Iterable[tuple[Entry, list[str]]]
) -> None:
    for entry, faults in found:
        entry.faults += faults
    report({entry.name: entry.faults for entry in entries if entry.faults}, len(entries), skip_unreadable, hint)


def _check_twins(splits: Mapping[str, Sequence[Entry]]) -> None:
    """Adds faults to images that are listed twice, in one split or in two: none of the lists need be complete."""
    by_path, by_id = {}, {}
    for split, entries in splits.items():
        for entry in entries:
            by_path.setdefault(entry.path, []).append((split, entry))
            by_id.setdefault((split, entry.id), []).append(entry)
    for twins in by_path.values():
        names = sorted({split for split, _ in twins})
        if len(names) > 1:
            _add(f"is in the splits {' and '.join(names)}", (entry for _, entry in twins))
        elif len(twins) > 1:
            _add("is listed more than once", (entry for _, entry in twins))
    for (_, name), twins in by_id.items():
        if len({entry.path for entry in twins}) > 1:
            _add(f"has the id {name!r} of another image", twins)


def _add(fault: str, entries: Iterable[Entry]) -> None:
    for entry in entries:
        entry.faults.append(fault)


def _faults_of_annotations(entry: Entry) -> list[str]:
    """Returns what is wrong without a look at the image."""
    if not os.path.lexists(entry.path):
        return ["no such file"]
    if entry.size is not None:
        return faults_in(entry, entry.size)
    return box_faults(entry.corners, None)


def _faults_of_image(entry: Entry, size: Sequence[int]) -> list[str]:
    """Returns what is wrong for an image of this (height, width), upright."""
    height, width = size
    if entry.size is None:
        return faults_in(entry, (height, width))
    if entry.size == (height, width):
        return []
    stated = f"its annotations are for {entry.size[1]}x{entry.size[0]} pixels, the upright image has {width}x{height}"
    return [f"{stated}; if {TURNED}" if entry.size == (width, height) else stated]


def _without_boxes(where: str, split: str, num_images: int) -> DataError:
    named = f"the split {split}" if split else "the data"
    return DataError(
        f"{where}: {named} must have boxes that are not ignored, got none in {counted(num_images, 'usable image')}"
    )


def _in_pixels(entry: Entry, size: tuple[int, int]) -> np.ndarray:
    return entry.corners * [*size, *size] if entry.relative else entry.corners


def _annotated(
    where: str,
    split: str,
    entries: Sequence[Entry],
    sizes: Mapping[Path, Sequence[int]],
    digests: Mapping[Path, bytes],
) -> Annotated:
    of_images = np.array([sizes[entry.path] for entry in entries], np.int32).reshape(-1, 2)
    boxes = tuple(boxes_of(entry, tuple(size)) for entry, size in zip(entries, of_images.tolist(), strict=True))
    if all(found.ignored.all() for found in boxes):
        raise _without_boxes(where, split, len(boxes))
    return Annotated(
        Examples(
            np.array([str(entry.path) for entry in entries], dtype=object),
            np.zeros(len(entries), np.int64),
            in_files=True,
            pixels=of_images.prod(axis=1, dtype=np.int64),
            digests=np.array([digests[entry.path] for entry in entries], dtype=object),
        ),
        boxes,
        tuple(entry.id for entry in entries),
        of_images,
    )
