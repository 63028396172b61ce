"""Detections as a JSON file in COCO's form of results, and as lines of text."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TextIO

from bit_keras.data.errors import DataError
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
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            self._images = {PurePath(row["file_name"]).parts: row["id"] for row in content["images"]}
            categories = {row["name"]: row["id"] for row in content["categories"]}
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'{path} must be a JSON file in COCO\'s form, with "images" and "categories": {error}'
            ) from error
        if missing := [name for name in names if name not in categories]:
            raise DataError(f"{path} must have the classes of the detector, got none called {', '.join(missing)}")
        self.of_classes = tuple(categories[name] for name in names)

    def of_image(self, file: str) -> int | str:
        """Returns the id of an image, whose path ends as the file names it; raises DataError if there is none."""
        parts = PurePath(file).parts
        for start in range(len(parts)):  # the longest end first
            if parts[start:] in self._images:
                return self._images[parts[start:]]
        raise DataError(f"{self._path} has no image {one_line(file)}")


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
        (one_line(name), f"{score:.3f}  left {left:.0f}  top {top:.0f}  right {right:.0f}  bottom {bottom:.0f}")
        for name, score, (top, left, bottom, right) in zip(row.names, row.scores, row.boxes.tolist())
    ]
