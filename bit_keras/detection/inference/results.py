"""Detections as a JSON file in COCO's form of results, and as lines of text."""

import collections
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TextIO

from bit_keras.data.errors import DataError, shortened
from bit_keras.detection.data.sources.coco import as_id
from bit_keras.detection.inference.found import Found
from bit_keras.system.texts import one_line


class CocoIds:
    """The ids of the images and classes of a data set in COCO's form.

    Args:
        path: JSON file with "images" and "categories".
        names: the classes of the detector, each of which the file must have.

    Raises:
        DataError: the file cannot be read, has another form, or lacks a class.
    """

    def __init__(self, path: str | os.PathLike, names: Sequence[str]):
        self._path = path
        try:
            with open(path, encoding="utf-8-sig") as file:
                content = json.load(file)
            images = [(_parts(row["file_name"]), as_id(row["id"])) for row in content["images"]]
            named = [(row["name"], as_id(row["id"])) for row in content["categories"]]
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'{path} must be a JSON file in COCO\'s form, with "images" and "categories": {error}'
            ) from error
        self._images, categories = dict(images), dict(named)
        for what, pairs, known in (("images", images, self._images), ("categories", named, categories)):
            if len(known) < len(pairs):
                twins = [
                    str(name) for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1
                ]
                raise DataError(f"{path} must name {what} once, got more than once: {', '.join(shortened(twins))}")
        if missing := [name for name in names if name not in categories]:
            raise DataError(f"{path} must have the classes of the detector, got none called {', '.join(missing)}")
        self.of_classes = tuple(categories[name] for name in names)

    def of_image(self, file: str) -> int | str:
        """Returns the id of an image, whose path ends as the file names it; raises DataError if there is none."""
        parts = _parts(file)
        for start in range(len(parts)):  # the longest end first
            if parts[start:] in self._images:
                return self._images[parts[start:]]
        raise DataError(f"{self._path} has no image {one_line(file)}")


def _parts(file: str) -> tuple[str, ...]:
    """Returns the folders and the name of a path, which may have been written on Windows."""
    return PurePath(file.replace("\\", "/")).parts


class ResultsWriter:
    """Writes detections in COCO's form of results, https://cocodataset.org/#format-results: a list with one
    {"image_id", "category_id", "bbox", "score"} per object, "bbox" as [x, y, width, height] in pixels.

    Each also has "file_name" and "category_name". Without a data set there are no ids: "image_id" is then the file
    name, and categories are counted from 1 in the order of the detector's classes. The list holds objects alone, as
    `pycocotools.coco.COCO.loadRes` requires: an image without objects, or that cannot be read, is not in it.

    Args:
        file: opened in UTF-8; its end is written by `close`.
        ids: those of a data set, None for none.
    """

    def __init__(self, file: TextIO, ids: CocoIds | None = None):
        self._file, self._ids, self._count = file, ids, 0

    def write(self, row: Found) -> None:
        """Adds the objects of an image."""
        for entry in entries(row, self._ids):
            self._file.write(",\n" if self._count else "[\n")
            self._file.write(json.dumps(entry))
            self._count += 1

    def close(self) -> None:
        """Writes the end of the list."""
        self._file.write("\n]\n" if self._count else "[]\n")


def entries(row: Found, ids: CocoIds | None = None) -> list[Mapping]:
    """Returns the objects in an image in COCO's form of results, see `ResultsWriter`."""
    if not len(row):
        return []
    image = row.file if ids is None else ids.of_image(row.file)
    found = []
    for name, index, score, (top, left, bottom, right) in zip(row.names, row.classes, row.scores, row.boxes.tolist()):
        found.append(
            {
                "image_id": image,
                "category_id": index + 1 if ids is None else ids.of_classes[index],
                "bbox": [left, top, right - left, bottom - top],
                "score": score,
                "file_name": row.file,
                "category_name": name,
            }
        )
    return found


def lines(rows: Sequence[Found]) -> list[str]:
    """Returns aligned lines, one per object: file, class, score and box; or that there are none, or the error."""
    cells = [(one_line(row.file), *cell) for row in rows for cell in _cells(row)]
    file_width = max((len(file) for file, _, _ in cells), default=0)
    name_width = max((len(name) for _, name, rest in cells if rest), default=0)
    return [
        f"{file:<{file_width}}  {name:<{name_width}}  {rest}" if rest else f"{file:<{file_width}}  {name}"
        for file, name, rest in cells
    ]


def _cells(row: Found) -> list[tuple[str, str]]:
    if row.error is not None:
        return [(f"error: {one_line(row.error)}", "")]
    if not len(row):
        return [("no objects", "")]
    return [
        (one_line(name), f"{score:.3f}  {_box(*box)}")
        for name, score, box in zip(row.names, row.scores, row.boxes.tolist())
    ]


def _box(top: float, left: float, bottom: float, right: float) -> str:
    places = 0 if min(bottom - top, right - left) >= 2 else 2  # whole numbers would make small boxes empty
    sides = {"left": left, "top": top, "right": right, "bottom": bottom}
    return "  ".join(f"{name} {value:.{places}f}" for name, value in sides.items())
