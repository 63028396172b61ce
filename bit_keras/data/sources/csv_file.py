"""Sources from a CSV file that lists images and their labels."""

import codecs
import csv
import dataclasses
import hashlib
import io
import os
from pathlib import Path, PureWindowsPath

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.source import Source
from bit_keras.data.sources.image_files import Classes, open_image_files
from bit_keras.data.splits import SPLIT_NAMES, assign
from bit_keras.system.texts import counted

_ONE_LABEL = "every image must have one label, because fine-tuning ends in a softmax over the classes"
_SEPARATORS = "|;"  # between several labels in one cell
_DELIMITERS = ",;\t|"  # between cells
# {column: its names in the header, in any case}; the last two columns are optional.
_COLUMNS = {
    "path": (
        *("path", "image", "file", "filename", "filepath", "image_path", "file_path", "file_name", "image_name"),
        *("img", "img_path", "image_file"),
    ),
    "label": ("label", "class", "category", "target", "class_name", "label_name", "species"),
    "split": ("split", "set", "subset", "partition"),
    "group": ("group",),
}
_UNLABELLED = ("", "-1")


@dataclasses.dataclass(frozen=True, order=True)
class _Row:
    """One image; `split` and `group` are "" if the file has no such column."""

    label: str
    path: Path
    split: str
    group: str


def open_table(
    path: str | os.PathLike,
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Source:
    """Opens the images that a CSV file lists.

    Args:
        path: file of values in UTF-8, or in UTF-16 as of Excel, separated by commas, semicolons, tabs or "|".
            It has a header and the columns `path`, relative to the file's folder, `label`, one per image, and, if
            wanted, `split` and `group`; usual names such as "filename" and "class" too. In paths "\\" may stand for
            "/". The splits have the names of `open_folder`, in any case; without the column `split` the images are
            split as there. A test split in which every label is empty or -1 is not used. The images of a group, for
            example of one patient or camera, are all in one split. The order of the rows has no effect; classes are
            sorted by name.
        seed: of the split of a file without splits, in [0, 2**32).
        skip_unreadable: True leaves out the images that cannot be used, as if they were not listed.
        divide: as in `open_folder`.
        image_column, label_column: names of the columns path and label in the header, in any case; if one is given,
            columns of other names are not used. None for the usual names.

    Raises:
        DataError: the file is malformed; the message lists the line numbers. Or an image cannot be used; `files` of
            the error are all such images.

    Example:
        >>> from bit_keras.data.sources.csv_file import open_table
        >>> rows = [f"birds/{name}/{number}.jpg,{name}" for name in ("robin", "wren") for number in range(10)]
        >>> with open("birds.csv", "w") as file:
        ...     print("path,label", *rows, sep="\\n", file=file)
        >>> open_table("birds.csv")
        Source(birds: 16 training and 4 test examples of 2 classes)
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    rows = sorted(_read(path, image_column, label_column))
    present = {row.split for row in rows}

    def is_labelled(split: str) -> bool:
        return any(row.label not in _UNLABELLED for row in rows if row.split == split)

    names = {"train": ""} if present == {""} else assign(path, present, is_labelled)
    rows = [row for row in rows if row.split in names.values()]
    _check_labels(path, rows)
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


def _read(path: Path, image_column: str | None, label_column: str | None) -> list[_Row]:
    given = {"path": image_column, "label": label_column}
    try:
        text = read_text(path)
        start = text.find("\n") + 1 if text.startswith("sep=") else 0  # a line that Excel writes and reads
        reader = csv.reader(io.StringIO(text[start:], ""), strict=True, delimiter=_delimiter(text[start:], given))
        header = _columns(path, [cell.strip() for cell in next(reader, [])], given)
        lines = [(reader.line_num + bool(start), [cell.strip() for cell in cells]) for cells in reader if cells]
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
        raise DataError("\n  ".join([f"{path} has {counted(len(faults), 'faulty line')}:", *shortened(faults)]))
    if not rows:
        raise DataError(f"{path} must list images, got none below its header")
    return rows


def read_text(path: Path) -> str:
    return text_of(path.read_bytes())


def text_of(content: bytes) -> str:
    """Returns the text of a file in UTF-8, or in UTF-16 as of Excel."""
    return content.decode("utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def _delimiter(text: str, given: dict[str, str | None]) -> str:
    """Returns the character that divides the first line into the most columns of known names."""
    line = text.splitlines()[:1]

    def fit(delimiter: str) -> tuple[int, int]:
        names = next(csv.reader(line, delimiter=delimiter), [])
        return len(set(_known(names, given)) - {""}), len(names)

    return max(_DELIMITERS, key=fit)


def _known(names: list[str], given: dict[str, str | None]) -> list[str]:
    """Returns for each column of a file its key in `_COLUMNS`, "" if it has none."""
    known = {name: column for column, names in _COLUMNS.items() if not given.get(column) for name in names}
    known.update({name.lower(): column for column, name in given.items() if name})
    return [known.get(name.strip().lower(), "") for name in names]


def _columns(path: Path, names: list[str], given: dict[str, str | None]) -> list[str]:
    """Returns `_known`; raises DataError unless the columns are clear."""
    columns = _known(names, given)
    used = [column for column in columns if column]
    is_clear = {"path", "label"} <= set(used) and len(set(used)) == len(used)
    if is_clear and (used == columns or any(given.values())):
        return columns
    several = sum(name.lower().startswith("label") for name in names) > 1
    wanted = ", ".join(given[column] or column for column in ("path", "label"))
    raise DataError(
        f"{path}, line 1: the columns must be {wanted} and optionally split and group, or usual names of them such as "
        "filename and class; --image_column and --label_column choose among other columns; "
        f"got {', '.join(names) or 'none'}{f'; {_ONE_LABEL}' if several else ''}"
    )


def _check_labels(path: Path, rows: list[_Row]) -> None:
    missing = [str(row.path) for row in rows if not row.label]
    if missing:
        raise DataError(f"{path}: label must not be empty, got none for {', '.join(shortened(missing))}")


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
    split = SPLIT_NAMES.get(cell.get("split", "").lower())
    may_be_empty = ("", "label") if split == "test" else ("",)  # a test split may have no labels
    empty = [name for name in header if name not in may_be_empty and not cell[name]]
    if empty:
        return f"{' and '.join(empty)} must not be empty"
    if any(separator in cell["label"] for separator in _SEPARATORS):
        return f"the label {cell['label']!r} reads like several labels; {_ONE_LABEL}"
    if "split" in cell and split is None:
        return f"the split must be one of {', '.join(SPLIT_NAMES)}, got {cell['split']!r}"
    if "://" in cell["path"]:
        return f"{cell['path']} is an address; download the images, and list the paths of their files"
    path = _row(root, cell).path
    if os.path.lexists(path) and not path.is_dir():
        return ""  # a pipe, for example, is an image that cannot be used
    if PureWindowsPath(cell["path"]).drive and os.name != "nt":
        return f"{cell['path']} is a path of Windows; paths must be relative to the folder of this file, {root}"
    return f"no such file: {path}"


def _row(root: Path, cell: dict[str, str]) -> _Row:
    path = Path(os.path.normpath(root / cell["path"]))
    if "\\" in cell["path"] and not os.path.lexists(path):  # written on Windows
        path = Path(os.path.normpath(root / cell["path"].replace("\\", "/")))
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
