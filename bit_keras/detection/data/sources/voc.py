"""Sources from the XML files of PASCAL VOC, and of tools that write the same form."""

import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.loaders import limits
from bit_keras.data.sources.folder import is_hidden
from bit_keras.data.splits import SPLIT_NAMES, assign
from bit_keras.detection.data.annotations import DetectionSource
from bit_keras.detection.data.entry import Entry, Form
from bit_keras.detection.data.scan import report
from bit_keras.detection.data.sources.opened import inside, listed_classes, open_entries
from bit_keras.system.logs import doing
from bit_keras.system.texts import read_names

_MAX_BYTES = 2**24  # of an XML file: 100,000 boxes
_CLASS_FILES = ("classes.txt", "labels.txt")
_IMAGE_FOLDERS = ("JPEGImages", "images", ".")
_LISTS = "ImageSets/Main"
_MARK = re.compile(r"\s+(?:-1|0|1)$")  # after a name in a list: whether the image has a class
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FORM = Form(
    "xyxy",
    first=1,
    other_order="VOC's form has xmin, ymin, xmax, ymax: correct the files, or write a CSV file, with box_format={}",
    other_unit="multiply xmin and xmax by the width of the image, ymin and ymax by its height",
)


def open_voc(
    path: str | os.PathLike,
    classes: str | os.PathLike | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
) -> DetectionSource:
    """Opens images whose boxes are in one XML file each, in the form of PASCAL VOC.

    Pixels count from 1 and both corners belong to the box (VOC2011 development kit, section 7): xmin = 1 and xmax = 3
    are three columns, here from the edge 0 to the edge 3. Boxes with `difficult` 1 are ignored ones (`Boxes.ignored`).
    Images without boxes count, those without an XML file do not.

    Args:
        path: folder such as VOCdevkit/VOC2007, with Annotations, JPEGImages and, for its splits, train.txt (or
            trainval.txt), val.txt and test.txt in ImageSets/Main; or folder with XML files, beside their images or with
            these in "images"; or with such folders "train", "valid" (or "val", "validation") and "test". An image is
            the file that the XML file names, else the one that is called like the XML file.
        classes: text file with a name per line. None for classes.txt or labels.txt in the folder; else the classes that
            ImageSets/Main has lists of, such as dog_train.txt; else the names in all XML files, sorted.
        seed, skip_unreadable, divide: as in `bit_keras.detection.data.loading.open_dataset`.

    Raises:
        DataError: a file is malformed, or an image or box cannot be used.

    Example:
        >>> import os
        >>> from bit_keras.detection.data.sources.voc import open_voc
        >>> box = "<bndbox><xmin>1</xmin><ymin>11</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
        >>> os.mkdir("voc")
        >>> for number in range(5):
        ...     os.link(f"boxes/{number}.png", f"voc/{number}.png")
        ...     with open(f"voc/{number}.xml", "w") as file:
        ...         print(f"<annotation><object><name>square</name>{box}</object></annotation>", file=file)
        >>> open_voc("voc").class_names
        ('square',)
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise DataError(f"no such folder: {path}")
    files, splits = _annotation_files(path)
    parsed = _parse_all({split: files[split] for split in splits.values()}, skip_unreadable)
    names = _class_names(path, classes) or _names_in(parsed)
    labels = {name: label for label, name in enumerate(names)}
    entries = {
        split: [_entry(path, file, root, labels) for file, root in roots.items()] for split, roots in parsed.items()
    }
    return open_entries(
        path.resolve().name,
        path,
        "voc",
        entries,
        splits,
        names,
        seed=seed,
        skip_unreadable=skip_unreadable,
        divide=divide,
    )


def _annotation_files(path: Path) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """Returns {name of a split: its XML files} and {split: its name}."""
    folders = {
        folder.name: _xml_files(folder) for folder in sorted(path.iterdir()) if folder.name.lower() in SPLIT_NAMES
    }
    folders = {name: files for name, files in folders.items() if files}
    if folders:
        return folders, assign(path, folders)
    everything = _xml_files(path / "Annotations") or _xml_files(path)
    if not everything:
        raise DataError(
            f"{path} must hold XML files, in itself or in Annotations or in the folders of its splits; got none"
        )
    lists = {file.stem: file for file in (path / _LISTS).glob("*.txt") if file.stem.lower() in SPLIT_NAMES}
    whole = path / _LISTS / "trainval.txt"
    if not any(name.lower() == "train" for name in lists) and whole.is_file():
        lists["train"] = whole
    if not lists:
        return {"": everything}, {"train": ""}
    by_stem = {file.stem: file for file in everything}
    listed = {name: _listed(file, everything[0].parent, by_stem) for name, file in lists.items()}

    def is_labelled(name: str) -> bool:
        return any(file.stem in by_stem for file in listed[name])

    return listed, assign(path, listed, is_labelled)


def _xml_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".xml" and not is_hidden(file.name))


def _listed(file: Path, folder: Path, by_stem: dict[str, Path]) -> list[Path]:
    """Returns the XML files that a list of ImageSets/Main names, in its order."""
    lines = [line.strip() for line in read_names("the list of a split", file)]
    stems = [line if line in by_stem else _MARK.sub("", line) for line in lines if line]
    outside = [stem for stem in stems if inside(folder, stem) is None]
    if outside:
        raise DataError(f"{file}: images must lie in the folder of the data, got {', '.join(shortened(outside))}")
    return [by_stem.get(stem, folder / f"{stem}.xml") for stem in stems]


def _class_names(path: Path, classes: str | os.PathLike | Sequence[str] | None) -> list[str]:
    """Returns the names that a list states, [] if there is none."""
    if classes is not None:
        return listed_classes(classes)
    for file in (path / name for name in _CLASS_FILES):
        if file.is_file():
            return listed_classes(file)
    endings = [f"_{split}" for split in (*SPLIT_NAMES, "trainval")]
    stems = [(file.stem, ending) for file in (path / _LISTS).glob("*.txt") for ending in endings]
    return sorted({stem.removesuffix(ending) for stem, ending in stems if stem.endswith(ending)})


def _names_in(parsed: dict[str, dict[Path, ET.Element]]) -> list[str]:
    roots = [root for of_split in parsed.values() for root in of_split.values()]
    found = {_text(item, "name") for root in roots for item in root.findall("object")}
    return sorted(found - {""})


class _NoDeclarations(ET.TreeBuilder):
    """Refuses declarations of document types, which define entities: a few lines may stand for gigabytes."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("a document type (<!DOCTYPE) is not allowed")


def _parse_all(files: dict[str, list[Path]], skip_unreadable: bool) -> dict[str, dict[Path, ET.Element]]:
    """Returns {split: {XML file: its root}}; raises DataError that lists the files which cannot be read."""
    parsed, faults = {split: {} for split in files}, {}
    total = sum(map(len, files.values()))
    with doing(lambda: f"{sum(map(len, parsed.values())):,} of {total:,} XML files read"):
        for split, paths in files.items():
            for path in paths:
                try:
                    parsed[split][path] = _parse(path)
                except (OSError, ValueError, LookupError, ET.ParseError) as error:  # LookupError: an unknown encoding
                    reason = getattr(error, "strerror", None) or str(error)
                    faults[limits.printable(path)] = [f"must be an XML file in the form of VOC: {reason}"]
    report(faults, total, skip_unreadable)
    return parsed


def _parse(path: Path) -> ET.Element:
    """Returns the root of an XML file; raises OSError, ValueError, LookupError or ParseError if it is none of VOC."""
    content = limits.read_file(path)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"has {len(content):,} bytes; at most {_MAX_BYTES:,} are read")
    root = ET.fromstring(content, ET.XMLParser(target=_NoDeclarations()))
    if root.tag != "annotation":
        raise ValueError(f"must have <annotation>, got <{root.tag}>")
    return root


def _entry(path: Path, file: Path, root: ET.Element, labels: dict[str, int]) -> Entry:
    boxes, of_boxes, ignored, faults = [], [], [], []
    for number, item in enumerate(root.findall("object"), 1):
        name, box, difficult = _text(item, "name"), item.find("bndbox"), _text(item, "difficult")
        where = f"{file.name}, object {number}"
        try:
            values = [float(_text(box, side)) for side in _CORNERS] if box is not None else []
        except ValueError:
            values = []
        if not values:
            faults.append(f"{where} must have a bndbox with the numbers {', '.join(_CORNERS)}")
        elif name not in labels:
            faults.append(f"{where} has the class {name!r}, which is not among the classes")
        elif difficult not in ("", "0", "1"):
            faults.append(f"{where} must have difficult 0 or 1, got {difficult!r}")
        else:
            boxes.append(values)
            of_boxes.append(labels[name])
            ignored.append(difficult == "1")
    image, fault = _image(path, file, _text(root, "filename"))
    return Entry(
        image,
        os.path.relpath(file, path),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(of_boxes, np.int32),
        np.array(ignored, bool),
        np.full(len(of_boxes), math.nan),
        _FORM,
        _size(root),
        faults=[*fault, *faults],
    )


def _image(path: Path, file: Path, name: str) -> tuple[Path, list[str]]:
    """Returns the image of an XML file, and the fault of its name."""
    folders = [file.parent, *(base / folder for base in (file.parent, path) for folder in _IMAGE_FOLDERS)]
    folders = list(dict.fromkeys(folder for folder in folders if folder.is_dir()))
    if name and inside(path, name) is None:
        return file, [f"{file.name}: the filename must lie in the folder of the images, got {name!r}"]
    is_there: Callable[[Path], bool] = os.path.lexists
    for folder in folders if name else ():
        if is_there(inside(folder, name)):
            return inside(folder, name), []
    for folder in folders:
        for suffix in (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".webp", ".bmp", ".gif", ".tif", ".tiff"):
            if is_there(folder / f"{file.stem}{suffix}"):
                return folder / f"{file.stem}{suffix}", []
    return inside(folders[-1], name or f"{file.stem}.jpg"), []


def _size(root: ET.Element) -> tuple[int, int] | None:
    """Returns (height, width); None where some tools write 0 or nothing."""
    sides = [_text(root, f"size/{side}") for side in ("height", "width")]
    is_stated = all(side.isascii() and side.isdecimal() and len(side) < 10 and int(side) for side in sides)
    return (int(sides[0]), int(sides[1])) if is_stated else None


def _text(item: ET.Element, name: str) -> str:
    return (item.findtext(name) or "").strip()
