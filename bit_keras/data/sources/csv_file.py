"""Sources from a CSV file that lists images and their labels."""

import csv
import dataclasses
import hashlib
import os
from pathlib import Path

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.source import Source
from bit_keras.data.sources.image_files import Classes, open_image_files
from bit_keras.data.splits import SPLIT_NAMES, assign

_ONE_LABEL = "every image must have one label, because fine-tuning ends in a softmax over the classes"
_SEPARATORS = "|;"  # between several labels in one cell
_COLUMNS = ("path", "label", "split", "group")  # the last two are optional


@dataclasses.dataclass(frozen=True, order=True)
class _Row:
    """One image; `split` and `group` are "" if the file has no such column."""

    label: str
    path: Path
    split: str
    group: str


def open_table(path: str | os.PathLike, seed: int = 0, skip_unreadable: bool = False, divide: bool = True) -> Source:
    """Opens the images that a CSV file lists.

    Args:
        path: UTF-8 file of comma-separated values with a header and the columns `path`, relative to the file's
            folder, `label`, one per image, and optionally `split` and `group`. The splits have the names of
            `open_folder`, in any case; without the column `split` the images are split as there. The images of a group,
            for example of one patient or camera, are all in one split. The order of the rows has no effect; classes are
            sorted by name.
        seed: of the split of a file without splits, in [0, 2**32).
        skip_unreadable: True leaves out the images that cannot be used, as if they were not listed.
        divide: as in `open_folder`.

    Raises:
        DataError: the file is malformed; the message lists the line numbers. Or an image cannot be used; `files` of
            the error are all such images.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    rows = sorted(_read(path))
    present = {row.split for row in rows}
    names = {"train": ""} if present == {""} else assign(path, present)
    groups = {row.path: row.group for row in rows} if rows[0].group else None
    _check_groups(path, rows)
    source = open_image_files(
        path.stem,
        path.parent,
        {split: _classes(rows, name) for split, name in names.items()},
        test_split=names.get("test", "test"),
        groups=groups,
        seed=seed,
        skip_unreadable=skip_unreadable,
        divide=divide,
    )
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
    if {"path", "label"} <= set(header) <= set(_COLUMNS) and len(set(header)) == len(header):
        return
    several = sum(name.startswith("label") for name in header) > 1
    raise DataError(
        f"{path}, line 1: the columns must be path, label and optionally split and group, separated by commas, got "
        f"{', '.join(header) or 'none'}{f'; {_ONE_LABEL}' if several else ''}"
    )


def _check_groups(path: Path, rows: list[_Row]) -> None:
    first = {}
    for row in rows:
        if row.group and first.setdefault(row.group, row.split) != row.split:
            raise DataError(
                f"{path}: a group must be in one split, got {row.group!r} in {first[row.group]} and {row.split}; "
                "without the column group the splits are used as they are"
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
    if "split" in cell and cell["split"].lower() not in SPLIT_NAMES:
        return f"the split must be one of {', '.join(SPLIT_NAMES)}, got {cell['split']!r}"
    path = _row(root, cell).path
    return "" if path.is_file() else f"no such file: {path}"


def _row(root: Path, cell: dict[str, str]) -> _Row:
    path = Path(os.path.normpath(root / cell["path"]))
    return _Row(cell["label"], path, cell.get("split", "").lower(), cell.get("group", ""))


def _classes(rows: list[_Row], split: str) -> Classes:
    classes = {}
    for row in rows:
        if row.split == split:
            classes.setdefault(row.label, []).append(row.path)
    return classes


def _identity(source: Source, root: Path, rows: list[_Row]) -> dict[str, str]:
    """Returns the identity with fingerprints that also cover labels, splits and groups, for the files that are used."""

    def fingerprint(name: str, images: set[str]) -> str:
        listed = [
            (Path(os.path.relpath(row.path, root)).as_posix(), row.label, row.split, *filter(None, [row.group]))
            for row in rows
            if str(row.path) in images
        ]
        return hashlib.sha256(repr((source.identity[name], listed)).encode()).hexdigest()

    identity = {"kind": "csv", "fingerprint": fingerprint("fingerprint", {*source.train.images, *source.test.images})}
    if source.validation is not None:
        identity["validation"] = fingerprint("validation", {*source.validation.images})
    return identity
