"""Sources from a CSV file with a row per box."""

import csv
import dataclasses
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.sources.csv_file import read_text
from bit_keras.data.splits import SPLIT_NAMES, assign
from bit_keras.detection.data.annotations import BOX_FORMATS, DetectionSource
from bit_keras.detection.data.entry import Entry, Form
from bit_keras.detection.data.sources.opened import listed_classes, open_entries
from bit_keras.system.checks import check_choice
from bit_keras.system.texts import counted, one_line

UNITS = ("pixels", "relative")
_DELIMITERS = ",;\t|"
# {what a column holds: its names in the header, in any case, without "_", "-" and spaces}
_COLUMNS = {
    "path": ("path", "image", "file", "filename", "filepath", "imagepath", "imagename", "img", "imgpath", "imageid"),
    "label": ("label", "class", "category", "classname", "labelname", "name", "species"),
    "split": ("split", "set", "subset", "partition"),
    "ignored": ("iscrowd", "crowd", "isgroupof", "difficult", "isdifficult", "ignored", "ignore"),
    "image_height": ("imageheight", "imgheight"),
    "image_width": ("imagewidth", "imgwidth"),
    "box": ("bbox", "box", "boundingbox"),
}
# {format: four names each of its numbers}
_BOXES = {
    "xyxy": (
        ("xmin", "ymin", "xmax", "ymax"),
        ("left", "top", "right", "bottom"),
        ("x0", "y0", "x1", "y1"),
        ("x1", "y1", "x2", "y2"),
    ),
    "xywh": (
        ("x", "y", "width", "height"),
        ("x", "y", "w", "h"),
        ("left", "top", "width", "height"),
        ("xmin", "ymin", "width", "height"),
    ),
}
_NUMBER = re.compile(r"[-+.\w]+")
_TRUE, _FALSE = ("1", "true", "yes"), ("", "0", "false", "no", "-1")  # -1: unknown, in Open Images


@dataclasses.dataclass(frozen=True)
class _Header:
    """Which columns of a file hold what.

    Attributes:
        columns: {key of `_COLUMNS`: index of its column}.
        box: indices of the four columns of a box, or of the one.
        box_format: one of `BOX_FORMATS`.
    """

    columns: Mapping[str, int]
    box: tuple[int, ...]
    box_format: str
    other_format: str  # arguments that state another order, for which "{}" stands


@dataclasses.dataclass(frozen=True, order=True)
class _Row:
    path: Path
    split: str
    box: tuple[float, ...]  # () for an image without boxes
    label: str
    ignored: bool
    size: tuple[int, int] | None
    line: int


def open_box_table(
    path: str | os.PathLike,
    *,
    classes: str | os.PathLike | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    box_columns: Sequence[str] | None = None,
    box_format: str | None = None,
    box_unit: str | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
) -> DetectionSource:
    """Opens images whose boxes are the rows of a CSV file.

    Args:
        path: file in UTF-8, or UTF-16 as of Excel, separated by commas, semicolons, tabs or "|". The header names the
            columns: the image (path, image, filename, ...), relative to the file's folder; the class (label, class,
            ...); the box, as xmin, ymin, xmax, ymax, or left, top, right, bottom, or x1, y1, x2, y2, or x, y, width,
            height; and, if wanted, split (train, test, validation), iscrowd or difficult (1 for an ignored box), and
            the size of the image (image_width, image_height; width and height beside xmin and xmax). An image without
            boxes has one row, in which box and class are empty. The order of the rows has no effect.
        classes: text file with a name per line; None for the names in the file, sorted.
        image_column, label_column: names of the columns in the header, in any case; None for the usual names.
        box_columns: names of the four columns of the box, in the order of `box_format`; or of one column with four
            numbers such as "[10, 20, 30, 40]". None for the usual names.
        box_format: "xyxy" for left, top, right, bottom; "yxyx" for top, left, bottom, right; "xywh" for left, top,
            width, height. Needed for `box_columns` and for a single column; None otherwise, as the names say it.
        box_unit: "pixels", edges from 0 on, or "relative", to the width and height; None for pixels.
        seed, skip_unreadable, divide: as in `bit_keras.detection.data.loading.open_dataset`.

    Raises:
        DataError: the file is malformed, its numbers cannot have the format or unit, or an image or box cannot be used.
        ValueError: an argument is out of its range.

    Example:
        >>> from bit_keras.detection.data.sources.csv_file import open_box_table
        >>> rows = [f"boxes/{number}.png,square,{5 * number},10,{5 * number + 30},40" for number in range(10)]
        >>> with open("boxes.csv", "w") as file:
        ...     print("image,label,xmin,ymin,xmax,ymax", *rows, sep="\\n", file=file)
        >>> open_box_table("boxes.csv").class_names
        ('square',)
    """
    check_choice("box_format", box_format, (None, *BOX_FORMATS))
    check_choice("box_unit", box_unit, (None, *UNITS))
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    header, rows = _read(path, image_column, label_column, box_columns, box_format)
    unit = box_unit or "pixels"
    form = Form(
        header.box_format,
        unit == "relative",
        other_order=f"state {header.other_format}",
        other_unit=f"state box_unit={'pixels' if unit == 'relative' else 'relative'}",
        otherwise=f"boxes were read as {header.box_format} in {unit}: box_format and box_unit state another meaning",
    )
    present = sorted({row.split for row in rows})
    splits = {"train": ""} if present == [""] else assign(path, present, lambda name: _has_boxes(rows, name))
    rows = [row for row in rows if row.split in splits.values()]
    names = _class_names(path, rows, classes)
    entries = {split: [] for split in splits.values()}
    for (_, split), group in _grouped(rows).items():
        entries[split].append(_entry(path, group, form, names))
    return open_entries(
        path.stem,
        path.parent,
        "csv",
        entries,
        splits,
        list(names),
        seed=seed,
        skip_unreadable=skip_unreadable,
        divide=divide,
    )


def _read(
    path: Path,
    image_column: str | None,
    label_column: str | None,
    box_columns: Sequence[str] | None,
    box_format: str | None,
) -> tuple[_Header, list[_Row]]:
    try:
        text = read_text(path)
        delimiter = max(_DELIMITERS, key=(text.splitlines() or [""])[0].count)
        lines = csv.reader(io.StringIO(text, ""), strict=True, delimiter=delimiter)
        names = [cell.strip() for cell in next(lines, [])]
        given = {"path": image_column, "label": label_column}
        header = _header(path, names, given, box_columns, box_format)
        numbered = [(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} must hold comma-separated values in UTF-8: {error}") from error
    rows, faults = [], []
    for line, cells in numbered:
        if len(cells) != len(names):
            faults.append(f"line {line}: must have {len(names)} cells, got {len(cells)}")
            continue
        try:
            rows.append(_row(path.parent, header, line, cells))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    faults += [f"line {row.line}: {fault}" for row, fault in _contradictions(rows)]
    if faults:
        listed = shortened([one_line(fault) for fault in faults])
        raise DataError("\n  ".join([f"{path} has {counted(len(faults), 'faulty line')}:", *listed]))
    if not rows:
        raise DataError(f"{path} must list boxes, got none below its header")
    return header, sorted(rows, key=lambda row: (row.path, row.split, row.box, row.label, row.ignored))


def _header(
    path: Path,
    names: list[str],
    given: dict[str, str | None],
    box_columns: Sequence[str] | None,
    box_format: str | None,
) -> _Header:
    plain = [_plain(name) for name in names]
    if len(set(plain)) < len(plain):
        raise DataError(f"{path}, line 1: the columns must have different names, got {', '.join(names)}")
    columns = {key: _find(path, names, plain, key, given.get(key)) for key in _COLUMNS}
    columns = {key: index for key, index in columns.items() if index is not None}
    if box_columns is not None:
        if len(box_columns) not in (1, 4):
            raise DataError(f"box_columns must be the names of four columns or of one, got {list(box_columns)}")
        box = tuple(_named(path, names, name) for name in box_columns)
        named = None
    else:
        named, box = _box_columns(plain)
        if named is None and "box" in columns:
            box = (columns["box"],)
    if not box or not {"path", "label"} <= columns.keys():
        wanted = [key for key in ("path", "label") if key not in columns] + ([] if box else ["xmin, ymin, xmax, ymax"])
        raise DataError(
            f"{path}, line 1: there must be columns {', '.join(wanted)}, or usual names of them; image_column, "
            f"label_column and box_columns choose among other columns; got {', '.join(names) or 'none'}"
        )
    if named is None and box_format is None:
        raise DataError(
            f"{path}: the order of the numbers in {', '.join(names[index] for index in box)} must be stated, as "
            f"box_format={', '.join(BOX_FORMATS)}"
        )
    if named is not None and box_format not in (None, named):
        raise DataError(
            f"{path}: its columns {', '.join(names[index] for index in box)} are {named}, got box_format={box_format}; "
            "box_columns names other columns, or these with another meaning"
        )
    if "image_width" not in columns and named == "xyxy" and {"width", "height"} <= set(plain):
        columns |= {"image_width": plain.index("width"), "image_height": plain.index("height")}
    # The usual names state a format, which box_format cannot change.
    chosen = "" if named is None else f"box_columns={','.join(names[index] for index in box)} and "
    return _Header(columns, box, named or box_format, f"{chosen}box_format={{}}")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _find(path: Path, names: list[str], plain: list[str], key: str, given: str | None) -> int | None:
    if given is not None:
        return _named(path, names, given)
    found = [index for index, name in enumerate(plain) if name in _COLUMNS[key]]
    if len(found) > 1:
        raise DataError(
            f"{path}, line 1: it must be clear which column is the {key}, got "
            f"{', '.join(names[index] for index in found)}; image_column, label_column and box_columns choose"
        )
    return found[0] if found else None


def _named(path: Path, names: list[str], name: str) -> int:
    lower = [other.lower() for other in names]
    if name.lower() not in lower:
        raise DataError(f"{path}, line 1: there must be a column {name}, got {', '.join(names)}")
    return lower.index(name.lower())


def _box_columns(plain: list[str]) -> tuple[str | None, tuple[int, ...]]:
    """Returns the format of the first usual names that are in a header, and the indices of their columns."""
    for box_format, usual in _BOXES.items():
        for names in usual:
            if set(names) <= set(plain):
                return box_format, tuple(plain.index(name) for name in names)
    return None, ()


def _row(root: Path, header: _Header, line: int, cells: list[str]) -> _Row:
    cell = {key: cells[index] for key, index in header.columns.items()}
    if not cell["path"]:
        raise ValueError("the image must not be empty")
    split = cell.get("split", "").lower()
    if "split" in cell and split not in SPLIT_NAMES:
        raise ValueError(f"the split must be one of {', '.join(SPLIT_NAMES)}, got {cell['split']!r}")
    ignored = cell.get("ignored", "").lower()
    if ignored not in _TRUE + _FALSE:
        raise ValueError(f"an ignored box must be stated by 0 or 1, got {cell['ignored']!r}")
    box = _numbers([cells[index] for index in header.box])
    if box and not cell["label"]:
        raise ValueError("a box must have a class")
    if cell["label"] and not box:
        raise ValueError(f"has the class {cell['label']!r} but no box; an image without boxes has no class either")
    sides = [cell.get(name, "") for name in ("image_height", "image_width")]
    if not all(side.isascii() and side.isdecimal() and len(side) < 10 for side in sides if side):
        raise ValueError(f"the size of the image must be whole numbers, got {' and '.join(sides)}")
    size = (int(sides[0]), int(sides[1])) if all(sides) and int(sides[0]) and int(sides[1]) else None
    return _Row(_path(root, cell["path"]), split, box, cell["label"], ignored in _TRUE, size, line)


def _numbers(cells: list[str]) -> tuple[float, ...]:
    """Returns the four numbers of a box, () for an empty one; raises ValueError for another number of them."""
    found = cells
    if len(cells) == 1:
        found = _NUMBER.findall(cells[0])
    if not any(found):
        return ()
    try:
        numbers = tuple(map(float, found))
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise ValueError(f"a box must be four numbers, or all of them empty, got {', '.join(map(repr, cells))}")
    return numbers


def _path(root: Path, name: str) -> Path:
    path = Path(os.path.normpath(root / name))
    if "\\" in name and not os.path.lexists(path):  # written on Windows
        path = Path(os.path.normpath(root / name.replace("\\", "/")))
    return path


def _contradictions(rows: Sequence[_Row]) -> list[tuple[_Row, str]]:
    """Returns rows that contradict earlier ones about the same image, each with its fault."""
    first, boxes, found = {}, {}, []
    for row in rows:
        other = first.setdefault(row.path, row)
        twin = boxes.setdefault((row.path, row.box, row.label), row)
        if other.split != row.split:
            found.append((row, f"{row.path} must be in one split, is also in that of line {other.line}"))
        elif other is not row and not (row.box and other.box):
            found.append((row, f"{row.path} has a row without a box and another row, line {other.line}"))
        elif other.size != row.size:
            found.append((row, f"{row.path} has another size than in line {other.line}"))
        elif twin is not row:
            found.append((row, f"{row.path} has this box of the class {row.label!r} already in line {twin.line}"))
    return found


def _has_boxes(rows: Sequence[_Row], split: str) -> bool:
    return any(row.box for row in rows if row.split == split)


def _class_names(path: Path, rows: Sequence[_Row], classes: str | os.PathLike | Sequence[str] | None) -> dict[str, int]:
    """Returns {class: its label}."""
    names = sorted({row.label for row in rows} - {""})
    if classes is not None:
        names = listed_classes(classes)
    return {name: label for label, name in enumerate(names)}


def _grouped(rows: Sequence[_Row]) -> dict[tuple[Path, str], list[_Row]]:
    groups = {}
    for row in rows:
        groups.setdefault((row.path, row.split), []).append(row)
    return groups


def _entry(path: Path, rows: list[_Row], form: Form, labels: Mapping[str, int]) -> Entry:
    rows = [row for row in rows if row.box] or rows[:1]
    known = [row for row in rows if row.box and row.label in labels]
    unknown = [row for row in rows if row.box and row.label not in labels]
    faults = [f"line {row.line} has the class {row.label!r}, which is not among the classes" for row in unknown]
    return Entry(
        rows[0].path,
        Path(os.path.relpath(rows[0].path, path.parent)).as_posix(),
        np.array([row.box for row in known], np.float64).reshape(-1, 4),
        np.array([labels[row.label] for row in known], np.int32),
        np.array([row.ignored for row in known], bool),
        np.full(len(known), math.nan),
        form,
        rows[0].size,
        [f"line {row.line}" for row in known],
        faults,
    )
