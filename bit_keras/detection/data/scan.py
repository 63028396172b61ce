"""Checks all images and boxes before training, so that training does not fail on one, or learn from a wrong one."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.examples import Examples
from bit_keras.data.sources.image_files import check_images
from bit_keras.detection.data.annotations import Annotated, Boxes
from bit_keras.detection.data.entry import Entry
from bit_keras.detection.data.fit import BESIDE, EMPTY, LEAVES, clipped, misfits
from bit_keras.detection.data.meaning import check_unit, other_order, unit_faults
from bit_keras.detection.data.turned import warn_of_turned
from bit_keras.system.logs import logger
from bit_keras.system.texts import counted, one_line

_SMALLEST = 2  # pixels of the sides of an image: what is smaller stands for a failed download
_PER_IMAGE = 3  # most faults of one image in a message
_WAY_OUT = "skip_unreadable leaves out these images, with all their boxes"
TURNED = (
    "the EXIF orientation of the file turns it, and the boxes are those of the image before: remove the orientation "
    "from the file (exiftool -Orientation= FILE)"
)


def checked(
    where: str, root: Path, splits: Mapping[str, Sequence[Entry]], skip_unreadable: bool = False
) -> dict[str, Annotated]:
    """Returns the images and boxes of all splits, after every image was decoded once to check it.

    What the annotations show is checked before any image is read. A box that leaves its image by a pixel or less is
    clipped. A warning names images that are turned without a sign of which boxes are meant, see `turned`.

    Args:
        where: name of the data, for messages.
        root: folder of the data.
        splits: {name of a split in the data, "" where there is one only: its images}.
        skip_unreadable: True leaves out, and logs, the images that have a fault or cannot be read, with all their
            boxes: an image without one of its boxes would teach that nothing is there.

    Raises:
        DataError: an image has a fault, or cannot be read; `files` are all such images. Or a split has no image or no
            box, or most of its boxes have another unit than declared.
    """
    splits = {name: list(entries) for name, entries in splits.items()}
    _check_twins(splits)
    for name, entries in splits.items():
        if all(entry.ignored.all() and not entry.faults for entry in entries):
            raise _without_boxes(where, name, len(entries))
        check_unit(f"{where}, {name}" if name else where, entries)
    everything = [entry for entries in splits.values() for entry in entries]
    _report(everything, skip_unreadable, {}, ((entry, _faults_of_annotations(entry)) for entry in everything))
    usable = [entry for entry in everything if not entry.faults]
    try:
        found = check_images(root, [entry.path for entry in usable], skip_unreadable)
    except DataError as error:
        raise DataError(f"{error}\n{_WAY_OUT}", error.files) from error
    sizes = found.sizes
    usable = [entry for entry in usable if entry.path in sizes]
    _report(usable, skip_unreadable, sizes, ((entry, _faults_of_image(entry, sizes[entry.path])) for entry in usable))
    warn_of_turned([entry for entry in usable if not entry.faults], sizes, found.orientations)
    return {
        name: _annotated(where, name, [e for e in entries if not e.faults and e.path in sizes], sizes, found.digests)
        for name, entries in splits.items()
    }


def check_max_boxes(split: Annotated, max_boxes: int) -> None:
    """Raises DataError if an image has more boxes to train on than a batch has room for; the message lists them."""
    counts = [int(np.count_nonzero(~boxes.ignored)) for boxes in split.boxes]
    faults = [f"{one_line(name)}: {count}" for name, count in zip(split.names, counts) if count > max_boxes]
    if faults:
        rule = (
            f"an image must have at most max_boxes={max_boxes} boxes, to which those of all images are padded; "
            f"max_boxes={max(counts)} takes all. Got more in {len(faults):,} of {counted(len(counts), 'image')}:"
        )
        raise DataError("\n  ".join([rule, *shortened(faults)]))


def boxes_of(entry: Entry, size: tuple[int, int]) -> Boxes:
    """Returns the boxes of an image of this (height, width), clipped to it."""
    corners = clipped(entry.form.corners(entry.values, size), size)
    height, width = (corners[:, 2:].astype(np.float64) - corners[:, :2]).T
    areas = np.where(np.isnan(entry.areas), height * width, entry.areas)
    return Boxes(corners, entry.labels.astype(np.int32), entry.ignored.astype(bool), areas)


def faults_in(entry: Entry, size: tuple[int, int] | None) -> list[str]:
    """Returns what is wrong with the boxes of an image of this (height, width), if it is known, or with the size."""
    if size is not None and min(size) < _SMALLEST:
        return [f"has {size[1]}x{size[0]} pixels; images must have {_SMALLEST}x{_SMALLEST} or more"]
    corners = entry.form.corners(entry.values, size)
    found = {index: f"{_described(entry, index, corners)} {fault}" for index, fault in misfits(corners, size).items()}
    if size is not None:
        found |= unit_faults(entry, size)
    return [found[index] for index in sorted(found)]


def report(
    faults: Mapping[str, Sequence[str]], num_images: int, skip_unreadable: bool, hint: Callable[[], str] = str
) -> None:
    """Raises DataError that lists the faults of {image: its faults}, or logs them if the images are left out.

    `hint` returns what may explain boxes that do not fit into their images.
    """
    if not faults:
        return
    listed = [f"{name}: {'; '.join(_first(found))}" for name, found in faults.items()]
    message = "\n  ".join([f"{len(faults):,} of {counted(num_images, 'image')} cannot be used:", *shortened(listed)])
    is_misfit = any(kind in fault for found in faults.values() for fault in found for kind in (EMPTY, LEAVES, BESIDE))
    if is_misfit and (explanation := hint()):
        message = f"{message}\n{explanation}"
    if not skip_unreadable:
        raise DataError(f"{message}\n{_WAY_OUT}", files=list(faults))
    logger.warning("left out, %s", message)


def _described(entry: Entry, index: int, corners: np.ndarray) -> str:
    sides = zip(("top", "left", "bottom", "right"), corners[index], strict=True)
    return f"{entry.place(index)} [{', '.join(f'{side} {value:g}' for side, value in sides)}]"


def _first(faults: Sequence[str]) -> list[str]:
    more = len(faults) - _PER_IMAGE
    return [one_line(fault) for fault in faults[:_PER_IMAGE]] + ([f"and {more} more"] if more > 0 else [])


def _report(
    entries: Sequence[Entry],
    skip_unreadable: bool,
    sizes: Mapping[Path, Sequence[int]],
    found: Iterable[tuple[Entry, list[str]]],
) -> None:
    for entry, faults in found:
        entry.faults += faults
    faulty = {entry.name: entry.faults for entry in entries if entry.faults}
    report(faulty, len(entries), skip_unreadable, lambda: other_order(entries, sizes))


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
    return faults_in(entry, entry.size)


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
