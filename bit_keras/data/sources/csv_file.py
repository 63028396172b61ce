"""Sources from a CSV file that lists images and their labels."""

import csv
import dataclasses
import hashlib
import os
from pathlib import Path

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.source import Source
from bit_keras.data.sources.image_files import TEST_SPLITS, Classes, open_image_files
from bit_keras.system.logs import logger

_ONE_LABEL = "every image must have one label, because fine-tuning ends in a softmax over the classes"
_SEPARATORS = "|;"  # between several labels in one cell


@dataclasses.dataclass(frozen=True, order=True)
class _Row:
    """One image; `split` is "" if the file has no such column."""

    label: str
    path: Path
    split: str


def open_table(path: str | os.PathLike, seed: int = 0, skip_unreadable: bool = False) -> Source:
    """Opens the images that a CSV file lists.

    Args:
        path: UTF-8 file of comma-separated values with a header and the columns `path`, relative to the file's
            folder, `label`, one per image, and optionally `split`. Images of the split `train` are for training; those
            of the first of `test`, `validation` and `val` that exists are for testing, and the others are not used.
            Without the column `split` the images are split as in `open_folder`. The order of the rows has no effect;
            classes are sorted by name.
        seed: of the split of a file without splits, in [0, 2**32).
        skip_unreadable: True leaves out the images that cannot be used, as if they were not listed.

    Raises:
        DataError: the file is malformed; the message lists the line numbers. Or an image cannot be used; `files` of
            the error are all such images.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    rows = sorted(_read(path))
    splits = {row.split for row in rows}
    if splits == {""}:
        train, test = _classes(rows, ""), None
    else:
        present = [name for name in TEST_SPLITS if name in splits]
        if not present or "train" not in splits:
            raise DataError(
                f"{path}: the splits must be train and one of {', '.join(TEST_SPLITS)}, got {', '.join(sorted(splits))}"
            )
        train, test = _classes(rows, "train"), _classes(rows, present[0])
        if present[1:]:
            logger.info("%s: tested on %s; %s is not used", path, present[0], " and ".join(present[1:]))
    source = open_image_files(path.stem, path.parent, train, test, seed=seed, skip_unreadable=skip_unreadable)
    return dataclasses.replace(source, identity={**source.identity, **_identity(source, path.parent, rows)})


def _read(path: Path) -> list[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _check_header(path, header)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} must hold comma-separated values in UTF-8: {error}") from error
    rows, faults, first_line = [], [], {}
    for line, cells in lines:
        fault = _fault(path.parent, header, cells)
        if not fault:
            row = _row(path.parent, dict(zip(header, cells, strict=True)))
            if row.path in first_line:
                fault = f"lists {row.path} again, after line {first_line[row.path]}; {_ONE_LABEL}"
            first_line.setdefault(row.path, line)
            rows.append(row)
        if fault:
            faults.append(f"line {line}: {fault}")
    if faults:
        raise DataError("\n  ".join([f"{path} has {len(faults)} faulty lines:", *shortened(faults)]))
    if not rows:
        raise DataError(f"{path} must list images, got none below its header")
    return rows


def _check_header(path: Path, header: list[str]) -> None:
    if sorted(header) in (["label", "path"], ["label", "path", "split"]):
        return
    several = sum(name.startswith("label") for name in header) > 1
    raise DataError(
        f"{path}, line 1: the columns must be path, label and optionally split, separated by commas, got "
        f"{', '.join(header) or 'none'}{f'; {_ONE_LABEL}' if several else ''}"
    )


def _fault(root: Path, header: list[str], cells: list[str]) -> str:
    """Returns the fault of a line, "" if it has none."""
    if len(cells) != len(header):
        return f"must have {len(header)} cells, got {len(cells)}"
    cell = dict(zip(header, cells, strict=True))
    empty = [name for name in header if not cell[name]]
    if empty:
        return f"{' and '.join(empty)} must not be empty"
    if any(separator in cell["label"] for separator in _SEPARATORS):
        return f"the label {cell['label']!r} reads like several labels; {_ONE_LABEL}"
    allowed = ("train", *TEST_SPLITS)
    if "split" in cell and cell["split"] not in allowed:
        return f"the split must be one of {', '.join(allowed)}, got {cell['split']!r}"
    path = _row(root, cell).path
    return "" if path.is_file() else f"no such file: {path}"


def _row(root: Path, cell: dict[str, str]) -> _Row:
    return _Row(cell["label"], Path(os.path.normpath(root / cell["path"])), cell.get("split", ""))


def _classes(rows: list[_Row], split: str) -> Classes:
    classes = {}
    for row in rows:
        if row.split == split:
            classes.setdefault(row.label, []).append(row.path)
    return classes


def _identity(source: Source, root: Path, rows: list[_Row]) -> dict[str, str]:
    """Returns the identity with a fingerprint that also covers labels and splits, for the files that are used."""
    used = {*source.train.images, *source.test.images}
    listed = [
        (Path(os.path.relpath(row.path, root)).as_posix(), row.label, row.split)
        for row in rows
        if str(row.path) in used
    ]
    content = repr((source.identity["fingerprint"], listed))
    return {"kind": "csv", "fingerprint": hashlib.sha256(content.encode()).hexdigest()}
