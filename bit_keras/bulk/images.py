"""The images of a job: which ones there are, and their content."""

import csv
import functools
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from bit_keras.bulk import records
from bit_keras.bulk.places import Place, place_of
from bit_keras.data.sources.csv_file import text_of
from bit_keras.data.sources.folder import is_hidden
from bit_keras.inference.address import fetch_image, is_address
from bit_keras.inference.inputs import ENDINGS, Input

_MAGIC = frozenset("*?[")
_THREADS = 64  # they wait for the answers of buckets
_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "url", "address", "uri")


class Image(NamedTuple):
    """An image of a job.

    Attributes:
        name: the address of its file, with the number of the record if that holds several.
        file: the address of its file.
        offset, length: of the record in a TFRecord file, in bytes; None for a file of its own.
    """

    name: str
    file: str
    offset: int | None = None
    length: int | None = None

    def to_input(self) -> Input:
        return Input(self.name, functools.partial(_read, self))


def find_images(inputs: Sequence[str]) -> list[Image]:
    """Returns the images that some inputs name, each one once, sorted by file and record.

    Args:
        inputs: local paths or addresses, as in `place_of`, of image files; of TFRecord files (".tfrecord" in the name),
            of folders with such files; of CSV files (".csv") of paths or addresses; patterns of such files, in which
            "*", "?" and "[...]" are within a folder and "**" is any folders; http:// and https:// addresses of images.

    Raises:
        FileNotFoundError: an input names nothing.
        ValueError, ImportError, OSError: as `place_of`; or an input cannot be read.
    """
    files = sorted({file for each in inputs for file in _files(each)})
    of_records = [file for file in files if records.is_tfrecord(file)]
    images = {file: Image(file, file) for file in files if not records.is_tfrecord(file)}
    with ThreadPoolExecutor(_THREADS) as pool:
        for file, found in zip(of_records, pool.map(lambda file: records.index(place_of(file)), of_records)):
            for number, (offset, length) in enumerate(found):
                name = f"{file}, record {number}"
                images[name] = Image(name, file, offset, length)
    return sorted(images.values(), key=lambda image: (image.file, image.offset or 0))


def _files(given: str) -> Iterator[str]:
    """Yields the addresses of the files that an input names."""
    if is_address(given):
        yield given
        return
    try:
        place = place_of(given)
        found = list(_found(place))
    except FileNotFoundError:
        raise FileNotFoundError(f"input: no such file or folder: {given}") from None
    except OSError as error:
        raise type(error)(f"input: {given} cannot be read: {error}") from error
    if not found:
        raise FileNotFoundError(f"input: no image, TFRecord or CSV file in {given}; endings: {' '.join(ENDINGS)}")
    for file in found:
        if file.path.lower().endswith(".csv"):
            yield from _listed(file)
        else:
            yield file.address


def _found(place: Place) -> Iterator[Place]:
    system, path = place.system, place.path
    folder = path.removesuffix("/**")
    is_there = place.is_local and os.path.lexists(folder)  # for example a file that is called "photo [1].jpg"
    if _MAGIC & set(folder) and not is_there:
        system.info(_fixed_part(path))  # glob would not tell that a bucket cannot be reached
        matches = system.glob(path, detail=True, on_error="raise")
        for match, info in sorted(matches.items()):
            if info["type"] == "file" and not is_hidden(match.rpartition("/")[2]):
                yield place._replace(path=match)
    elif system.info(folder)["type"] != "directory":
        yield place
    else:
        for file in sorted(system.find(folder, on_error="raise")):
            names = file.removeprefix(folder).strip("/").split("/")
            if not any(map(is_hidden, names)) and (file.lower().endswith(ENDINGS) or records.is_tfrecord(file)):
                yield place._replace(path=file)


def _fixed_part(pattern: str) -> str:
    """Returns the folder above the first name with a special character."""
    names = pattern.split("/")
    first = next(number for number, name in enumerate(names) if _MAGIC & set(name))
    return "/".join(names[:first]) or "/"


def _listed(file: Place) -> Iterator[str]:
    """Yields the addresses in a CSV file: of the column with a known name, or of the only column."""
    folder = file._replace(path=file.path.rpartition("/")[0])
    try:
        rows = [row for row in csv.reader(io.StringIO(text_of(file.system.cat_file(file.path)), "")) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"input: {file.address} must hold comma-separated values in UTF-8: {error}") from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((header.index(name) for name in _COLUMNS if name in header), None)
    if column is None and any(len(row) != 1 for row in rows):
        raise ValueError(
            f"input: {file.address} must have one column, or one that is called {', '.join(_COLUMNS)}; got "
            f"{', '.join(header)}"
        )
    for row in rows[column is not None :]:
        name = row[column or 0].strip()
        if name:
            yield name if "://" in name or name.startswith("/") else (folder / name).address


def _read(image: Image) -> bytes:
    """Returns the content of an image; raises OSError or ValueError with the reason if there is none."""
    if is_address(image.file):
        return fetch_image(image.file)
    try:
        place = place_of(image.file)
        if image.offset is None:
            return place.system.cat_file(place.path)
        return records.image_of(place, image.offset, image.length)
    except FileNotFoundError:
        raise FileNotFoundError("no such file") from None
    except OSError as error:
        raise OSError(f"cannot be read: {error.strerror or error}") from error
