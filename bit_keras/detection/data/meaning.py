"""Whether the numbers of boxes can mean what they are declared to: pixels or relative, and in which order."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.loaders import limits, preprocessing_numpy
from bit_keras.detection.data.annotations import BOX_FORMATS
from bit_keras.detection.data.entry import Entry
from bit_keras.detection.data.fit import misfits

_MOST_RELATIVE = 1.5  # no rounding explains larger numbers
_LARGE = 8  # pixels of the sides of an image in which boxes in the first pixel are taken for relative ones
_MEASURED = 1_000  # images whose size is looked up to find the order
_MEANINGS = {
    "xyxy": "[left, top, right, bottom]",
    "yxyx": "[top, left, bottom, right]",
    "xywh": "[left, top, width, height]",
}


def check_unit(where: str, entries: Sequence[Entry]) -> None:
    """Raises DataError if most boxes of a split have the other unit than declared; the message lists the others."""
    found = [(entry, _finite(entry), _has_other_unit(entry)) for entry in entries]
    others = [values for entry, is_finite, is_other in found for values in entry.values[is_finite & is_other]]
    count = sum(int(is_finite.sum()) for _, is_finite, _ in found)
    form = entries[0].form
    is_pixel = len(others) == 1 and not form.relative and not np.any(others[0] % 1)  # of the corner
    if 2 * len(others) <= count or is_pixel:
        return
    largest = np.abs(others).max()
    exceptions = [
        f"{entry.name}: {entry.numbers(index)}"
        for entry, is_finite, is_other in found
        for index in np.flatnonzero(is_finite & ~is_other)
    ]
    if form.relative:
        rule = f"relative boxes must lie in [0, 1], got {largest:g}"
    else:
        share = f"{len(others):,} of {count:,} boxes have no number" if exceptions else "no number of its boxes is"
        rule = f"{share} larger than {largest:g}, so they are not in pixels"
    message = f"{where}: {rule}: {form.other_unit}"
    if exceptions:
        message = "\n  ".join([f"{message}. These have another unit than most:", *shortened(exceptions)])
    raise DataError(message)


def unit_faults(entry: Entry, size: tuple[int, int]) -> dict[int, str]:
    """Returns {index of a box: what shows that it has the other unit}, in an image of this (height, width)."""
    is_other = _has_other_unit(entry)
    if not is_other.any():
        return {}
    if entry.form.relative:
        fault = "must lie in [0, 1], as relative boxes do"
    else:
        fault = f"has no number above 1, as relative boxes, in an image of {size[1]}x{size[0]} pixels"
        if not is_other.all():  # a box of whole numbers beside others may be the pixel in the corner
            is_other = is_other & (entry.values % 1).any(-1)
        if min(size) < _LARGE:
            return {}
    return {index: f"{entry.numbers(index)} {fault}" for index in np.flatnonzero(is_other).tolist()}


def other_order(entries: Sequence[Entry], sizes: Mapping[Path, Sequence[int]]) -> str:
    """Returns in which other orders all boxes fit, with the way out, for boxes that do not fit; "" if in none.

    Args:
        entries: all images.
        sizes: {file: height and width}, as far as they are known already.
    """
    form = entries[0].form
    measured = list(_measured(entries, sizes))
    fitting = [order for order in BOX_FORMATS if order != form.order and _all_fit(measured, order)]
    if not measured or not fitting:
        return form.otherwise
    named = " or ".join(f"{_MEANINGS[order]} ({order})" for order in fitting)
    way_out = form.other_order.replace("{}", " or ".join(fitting))
    return f"the numbers fit as {named}; they were read as {_MEANINGS[form.order]} ({form.order}): {way_out}"


def _has_other_unit(entry: Entry) -> np.ndarray:
    """Returns bool [G], True for boxes whose numbers speak for the other unit."""
    values = np.abs(entry.values)
    if entry.form.relative:
        return (values > _MOST_RELATIVE).any(-1)
    if entry.size is not None and min(entry.size) < _LARGE:
        return np.zeros(len(values), bool)
    return (values <= 1).all(-1) & values.any(-1)


def _finite(entry: Entry) -> np.ndarray:
    return np.isfinite(entry.values).all(-1)


def _measured(entries: Sequence[Entry], sizes: Mapping[Path, Sequence[int]]) -> Iterator[tuple[Entry, tuple[int, int]]]:
    """Yields images with boxes and their (height, width), from the header of the file where nothing else states it."""
    looked_up = 0
    for entry in entries:
        if not _finite(entry).any():
            continue
        size = entry.size or sizes.get(entry.path)
        if size is None and looked_up < _MEASURED:
            looked_up += 1
            size = _header_size(entry.path)
        if size is not None:
            yield entry, tuple(size)


def _header_size(path: Path) -> tuple[int, int] | None:
    try:
        return preprocessing_numpy.header_size(limits.read_file(path))
    except (OSError, ValueError):
        return None


def _all_fit(measured: Sequence[tuple[Entry, tuple[int, int]]], order: str) -> bool:
    return not any(
        misfits(entry.form.corners(entry.values[_finite(entry)], size, order), size) for entry, size in measured
    )
