"""Sources from the JSON files of COCO, instances_*.json, and of tools that write the same form."""

import functools
import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.loaders import limits
from bit_keras.data.splits import SPLIT_NAMES, assign
from bit_keras.detection.data.annotations import DetectionSource
from bit_keras.detection.data.entry import Entry, Form
from bit_keras.detection.data.sources.opened import inside, open_entries
from bit_keras.system.texts import one_line

_PREFIX = re.compile(r"^(?:instances|annotations)[_-]", re.IGNORECASE)
_YEAR = re.compile(r"[_-]?\d{4}$")
_IN_SPLITS = "_annotations.coco.json"  # in a folder per split, as Roboflow exports
_SAMPLE = 20  # first images, of which one must exist in a folder that is taken for the folder of the images
# What is dropped while a file is parsed: the outlines of the objects need most of the memory.
_UNUSED = ("segmentation", "keypoints", "caption", "license", "coco_url", "flickr_url", "date_captured")
_LISTS = ("images", "annotations", "categories")
_LARGEST = 2**31  # pixels of the side of an image, more than any has
_FORM = Form(
    "xywh",
    other_order="COCO's form has [left, top, width, height]: correct the file, or write a CSV file, with box_format={}",
    other_unit="multiply x and width by the width of the image, y and height by its height",
)


def open_coco(
    path: str | os.PathLike,
    image_dir: str | os.PathLike | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
) -> DetectionSource:
    """Opens images whose boxes are in the JSON form of COCO, https://cocodataset.org/#format-data.

    Boxes are [x, y, width, height] in pixels. Those with `iscrowd` are ignored ones (`Boxes.ignored`). The classes are
    all categories of the file in the order of their ids, whether they occur or not. Images without boxes count.

    Args:
        path: a JSON file; or a folder with such files of the splits train and, if wanted, test and validation (valid,
            val), in the folder itself or in "annotations", as instances_train2017.json or train.json; or with folders
            of these names, each with _annotations.coco.json and its images, as Roboflow exports.
        image_dir: folder that the names of the images are relative to; None for the first of these that has them: that
            of the JSON file and the one above it, and in both of them "images" and a folder called as the split
            ("train2017", "images/train2017").
        seed, skip_unreadable, divide: as in `bit_keras.detection.data.loading.open_dataset`.

    Raises:
        DataError: a file is malformed, or an image or box cannot be used.

    Example:
        >>> from bit_keras.detection.data.sources.coco import open_coco
        >>> source = open_coco("boxes/train.json")
        >>> source.class_names, source.category_ids, source.num_train
        (('square',), (1,), 8)
    """
    path = Path(path).expanduser()
    files = _annotation_files(path)
    parse = functools.cache(lambda name: _parse(files[name]))
    splits = {"train": ""} if path.is_file() else assign(path, files, lambda name: bool(parse(name)["annotations"]))
    parsed = {name: parse(name) for name in splits.values()}
    categories = {name: _categories(files[name], content) for name, content in parsed.items()}
    first = categories[splits["train"]]
    for name, others in categories.items():
        if others != first:
            changed = sorted({*first.items()} ^ {*others.items()})
            raise DataError(
                f"{files[name]}: all splits must have the categories of {files[splits['train']].name}; they differ in "
                f"{', '.join(shortened([f'{number} {label!r}' for number, label in changed]))}"
            )
    entries = {name: _entries(files[name], content, first, image_dir) for name, content in parsed.items()}
    return open_entries(
        path.resolve().stem if path.is_file() else path.resolve().name,
        path.parent if path.is_file() else path,
        "coco",
        entries,
        splits,
        list(first.values()),
        category_ids=list(first),
        seed=seed,
        skip_unreadable=skip_unreadable,
        divide=divide,
    )


def _annotation_files(path: Path) -> dict[str, Path]:
    """Returns {name of a split: its JSON file}; the name is "" for a file."""
    if path.is_file():
        return {"": path}
    if not path.is_dir():
        raise DataError(f"no such file or folder: {path}")
    found = {}
    candidates = [(file, _split_of(file)) for folder in (path, path / "annotations") for file in folder.glob("*.json")]
    candidates += [(file, file.parent.name) for file in path.glob(f"*/{_IN_SPLITS}")]
    for file, name in sorted(candidates):
        if name.lower() not in SPLIT_NAMES:
            continue
        if name in found:
            raise DataError(f"{path} must have one file of the split {name}, got {found[name]} and {file}: give one")
        found[name] = file
    if not found:
        raise DataError(
            f"{path} must hold JSON files of its splits, such as annotations/instances_train2017.json, or "
            f"train/{_IN_SPLITS}; got none"
        )
    return found


def _split_of(file: Path) -> str:
    return _YEAR.sub("", _PREFIX.sub("", file.stem))


def _parse(path: Path) -> dict[str, list[dict]]:
    """Returns the lists of images, annotations and categories of a JSON file."""
    try:
        content = json.loads(limits.read_file(path), object_hook=_without_unused)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} must be a JSON file in the form of COCO: {error}") from error
    for name in _LISTS:
        rows = content.get(name) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f'{path} must hold objects in the list "{name}", as COCO\'s instances_*.json do')
    return {name: content[name] for name in _LISTS}


def _without_unused(found: dict) -> dict:
    for name in _UNUSED:
        found.pop(name, None)
    return found


def _categories(path: Path, content: dict) -> dict[int, str]:
    """Returns {category id: name}, ordered by id."""
    found = {}
    for row in content["categories"]:
        number, name = _whole(row.get("id")), row.get("name")
        if number is None or not isinstance(name, str):
            raise DataError(f"{path}: a category must have a whole number as id and a name, got {_shown(row)}")
        if number in found:
            raise DataError(
                f"{path}: the categories {found[number]!r} and {name!r} must have different ids, got {number}"
            )
        found[number] = name
    return dict(sorted(found.items()))


def _entries(path: Path, content: dict, categories: dict[int, str], image_dir: str | os.PathLike | None) -> list[Entry]:
    faults, by_image = [], {}
    for row in content["images"]:
        number, name = as_id(row.get("id")), row.get("file_name")
        if number is None or not isinstance(name, str):
            faults.append(f"an image must have an id and a file_name, got {_shown(row)}")
        elif inside(path.parent, name) is None:
            faults.append(f"the file_name of image {number} must lie in the folder of the images, got {name!r}")
        elif number in by_image:
            faults.append(f"image {number} is listed more than once")
        else:
            by_image[number] = (row, [])
    ids = set()
    for row in () if faults else content["annotations"]:  # those of a faulty image would seem to have none
        number, image = as_id(row.get("id")), as_id(row.get("image_id"))
        if image not in by_image:
            image = _shown(row.get("image_id"))
            faults.append(f"annotation {number!r} has the image_id {image}, of no image of the file")
            continue
        by_image[image][1].append(row)
        if number is not None:  # other writers leave the id out
            if number in ids:
                by_image[image][1].append({"fault": f"annotation {number!r} is listed more than once"})
            ids.add(number)
    if faults:
        listed = shortened([one_line(fault) for fault in faults])
        raise DataError("\n  ".join([f"{path} has {len(faults)} faults:", *listed]))
    if not by_image:
        raise DataError(f"{path} must list images, got none")
    folder = _image_folder(path, [row["file_name"] for row, _ in by_image.values()], image_dir)
    labels = {number: label for label, number in enumerate(categories)}
    return [_entry(folder, number, *found, labels) for number, found in by_image.items()]


def _entry(folder: Path, number: int | str, image: dict, annotations: list[dict], labels: dict[int, int]) -> Entry:
    boxes, of_boxes, ignored, areas, faults = [], [], [], [], []
    for row in annotations:
        if "fault" in row:
            faults.append(row["fault"])
            continue
        box, category, area, crowd = (row.get(name) for name in ("bbox", "category_id", "area", "iscrowd"))
        name = f"annotation {as_id(row.get('id'))!r}"
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            faults.append(f"{name} must have a bbox [x, y, width, height], got {_shown(box)}")
        elif _whole(category) not in labels:
            faults.append(f"{name} has the category_id {_shown(category)}, which is not among the categories")
        elif crowd not in (None, 0, 1):
            faults.append(f"{name} must have iscrowd 0 or 1, got {_shown(crowd)}")
        else:
            boxes.append([float(value) for value in box])
            of_boxes.append(labels[_whole(category)])
            ignored.append(bool(crowd))
            areas.append(float(area) if _is_number(area) and 0 < area < math.inf else math.nan)
    height, width = (_whole(image.get(side)) or 0 for side in ("height", "width"))
    is_stated = height > 0 and width > 0
    return Entry(
        inside(folder, image["file_name"]),
        number,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(of_boxes, np.int32),
        np.array(ignored, bool),
        np.array(areas, np.float64),
        _FORM,
        (min(height, _LARGEST), min(width, _LARGEST)) if is_stated else None,
        faults=faults,
    )


def _image_folder(path: Path, names: list[str], image_dir: str | os.PathLike | None) -> Path:
    """Returns the folder that the names of the images are relative to."""
    if image_dir is not None:
        folder = Path(image_dir).expanduser()
        if not folder.is_dir():
            raise DataError(f"image_dir must be a folder, got {image_dir}")
        split = folder / _PREFIX.sub("", path.stem)  # of several splits each has its own below it
        return split if split.is_dir() and not _has_any(folder, names) else folder
    folders = list(_folders(path))
    for folder in folders:
        if _has_any(folder, names):
            return folder
    raise DataError(
        f"{path}: its images, such as {names[0]!r}, are in none of {', '.join(map(str, folders))}; image_dir names "
        "their folder"
    )


def _folders(path: Path) -> Iterable[Path]:
    split = _PREFIX.sub("", path.stem)
    for folder in (path.parent, path.resolve().parent.parent):
        for name in ("", split, "images", f"images/{split}", _YEAR.sub("", split), f"images/{_YEAR.sub('', split)}"):
            if (folder / name).is_dir():
                yield folder / name


def _has_any(folder: Path, names: list[str]) -> bool:
    return any(os.path.lexists(inside(folder, name)) for name in names[:_SAMPLE])


def _whole(value) -> int | None:
    """Returns a whole number, also one that pandas writes as 1.0; None for anything else."""
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(value) if is_whole and not isinstance(value, bool) else None


def as_id(value) -> int | str | None:
    """Returns the id of an image or class: a text, or a whole number, also one that pandas writes as 1.0; else None."""
    return value if isinstance(value, str) else _whole(value)


def _is_number(value) -> bool:
    is_nan = isinstance(value, float) and math.isnan(value)  # it is reported with its box
    return is_nan or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63)


def _shown(value) -> str:
    return one_line(repr(value))[:100]
