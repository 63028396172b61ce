"""Pictures of images with the objects that were found in them, as files."""

import os
import re
from pathlib import Path

from PIL import Image

from bit_keras.detection.inference.found import Found
from bit_keras.figures.boxes import colour_of, marked
from bit_keras.figures.drawing import drawn
from bit_keras.system.files import whole
from bit_keras.system.texts import one_line

# Of a name in UTF-8: file systems allow 255, and a file is written under a longer one first.
_MOST_BYTES = 150
_UNSAFE = re.compile(r'[\\/:*?"<>|\s]+')  # not in the names of files on every system


def picture(row: Found):
    """Returns a picture of an image, uint8 [H', W', 3], with a frame, name and score for each object.

    Raises:
        ValueError: `row` was found without its content, or its image cannot be read.
    """
    captions = [f"{drawn(name)} {score:.2f}" for name, score in zip(row.names, row.scores)]
    return marked(row.pixels(), row.boxes, [colour_of(index) for index in row.classes], captions)


class PictureFolder:
    """A folder of pictures in PNG format, named after the files of the images.

    "a/x.jpg" becomes "x.png"; a second image of this name, such as "b/x.jpg", "x-2.png". Names are told apart also
    where upper and lower case are the same.

    Args:
        folder: is made with the first picture; an existing file of the same name is replaced.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder, self._taken = Path(folder), set()

    def write(self, row: Found) -> Path:
        """Writes the picture of an image, whole or not at all, and returns its path."""
        path = self._folder / self._new_name(row.file)
        with whole(path) as temporary:
            Image.fromarray(picture(row)).save(temporary, "PNG", compress_level=4)
        return path

    def _new_name(self, file: str) -> str:
        stem, number = _stem(file), 1
        name = f"{stem}.png"
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}.png"
        self._taken.add(name.casefold())
        return name


def _stem(file: str) -> str:
    """Returns the name of a path or address without folders and ending, which is safe on every system."""
    path = file.split("?")[0] if "://" in file else file  # without the query of an address
    last = re.split(r"[\\/]", path.rstrip("\\/"))[-1]
    safe = _UNSAFE.sub("_", one_line(os.path.splitext(last)[0])).strip("._ ")
    return safe.encode()[:_MOST_BYTES].decode(errors="ignore") or "image"
