"""Program: name what photos show.

Each of IMAGES is an image file; a folder, of which all image files are taken, with those of its subfolders; a pattern
such as 'photos/*.jpg', in quotes if the shell should not expand it; an address that begins with http:// or https://; or
"-" for a list of these on standard input, one per line. What cannot be read is listed with the reason. The exit status
is 0 if any image was read, and 1 if none was.

Standard output is one line per image: its most likely classes and their probabilities.

Example:
    python -m bit_keras.predict --model=runs/birds robin.jpg photos/ --csv=birds.csv
    find /photos -newer last -name '*.jpg' | python -m bit_keras.predict --model=runs/birds - --json
"""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from absl import flags

from bit_keras.figures import contact_sheet
from bit_keras.inference.inputs import find
from bit_keras.inference.prediction import Prediction
from bit_keras.inference.predictor import Predictor
from bit_keras.predict import tables
from bit_keras.predict.watched import Watched, watched
from bit_keras.system import command_line
from bit_keras.system.files import whole
from bit_keras.system.logs import logger
from bit_keras.system.paths import check_place, expanded
from bit_keras.zoo.precisions import PRECISIONS

_GROUPS = {
    "model": ("model", "class_names", "resolution", "precision"),
    "images": ("from_file", "batch_size", "loader"),
    "results": ("top", "json", "csv", "sheet"),
}
_LINES_TOGETHER = 250  # lines of a table that are aligned with each other


def _define_flags() -> None:
    flags.DEFINE_string(
        "model",
        None,
        "Folder of a run (its best.npz, or else weights.npz), weight file or address, preset, or SavedModel directory. "
        "A SavedModel is a program, which is run: only for those of known origin.",
        required=True,
    )
    flags.DEFINE_string(
        "class_names",
        None,
        "Text file with the name of one class per line, in the order of the outputs, or ilsvrc2012 or imagenet21k; if "
        "not given, the names that the weights carry.",
    )
    flags.DEFINE_integer(
        "resolution",
        None,
        "Side of the images in pixels; if not given, that of the weights, or 224 if they have none.",
        lower_bound=1,
    )
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "Precision of the computation; a SavedModel has its own.")
    flags.DEFINE_string("from_file", None, 'Text file that lists more images, one per line; "-" for standard input.')
    flags.DEFINE_integer("batch_size", 32, "Images per batch.", lower_bound=1)
    flags.DEFINE_string(
        "loader", None, '"tf.data" or "grain": decoders of TensorFlow or of Pillow, as in the evaluation.'
    )
    flags.DEFINE_integer("top", 5, "Most likely classes to list per image.", lower_bound=1)
    flags.DEFINE_boolean("json", False, "Print a line of JSON per image in place of the table.")
    flags.DEFINE_string("csv", None, "CSV file to write: file, class_1, ..., probability_1, ..., error.")
    flags.DEFINE_string(
        "sheet", None, f"PNG file to write: the first {contact_sheet.MOST} images with their most likely class."
    )


def main(*images: str) -> None:
    values = flags.FLAGS
    if not images and values.from_file is None:
        raise command_line.UsageError("name images: files, folders, patterns, addresses, or - for a list of them")
    csv, sheet = (_check_output(name) for name in ("csv", "sheet"))
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise ValueError(f"sheet must be the name of a PNG file, got {sheet}")

    predictor = Predictor(
        values.model,
        top=values.top,
        class_names=values.class_names,
        resolution=values.resolution,
        precision=values.precision,
        batch_size=values.batch_size,
        loader=values.loader,
    )
    is_listed = values.from_file is not None or "-" in images
    total = None if is_listed else sum(1 for _ in find(images))
    rows = predictor.iterate(_paths(images, values.from_file), thumbnails=None if sheet is None else contact_sheet.SIDE)
    with watched(rows, total) as found:
        first = _write(found, predictor.top, csv)
    if not found.count:
        raise ValueError("the list of images is empty")
    if csv is not None:
        logger.info("table in %s", csv)
    if sheet is not None:
        contact_sheet.write(sheet, first)
        logger.info("contact sheet in %s", sheet)
    if found.errors == found.count:
        raise ValueError("none of the images can be read")


def _write(found: Watched, top: int, csv: Path | None) -> list[Prediction]:
    """Writes the CSV file and, from time to time, standard output; returns the predictions for the contact sheet."""
    values = flags.FLAGS
    waiting, first = [], []
    with contextlib.nullcontext() if csv is None else _open_csv(csv) as file:
        table = None if file is None else tables.CsvWriter(file, top)
        for row in found:
            if table is not None:
                table.write(row)
            if len(first) < contact_sheet.MOST:
                first.append(row)
            waiting.append(row)
            if len(waiting) == (values.batch_size if values.json else _LINES_TOGETHER):
                found.without_bar(functools.partial(_print, waiting))
                waiting = []
        found.without_bar(functools.partial(_print, waiting))
    return first


def _print(rows: list[Prediction]) -> None:
    lines = [tables.json_line(row) for row in rows] if flags.FLAGS.json else tables.table(rows)
    try:
        print("".join(f"{line}\n" for line in lines), end="", flush=True)
    except BrokenPipeError:  # the reader has ended, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        sys.exit(128 + signal.SIGPIPE)


@contextlib.contextmanager
def _open_csv(path: Path) -> Iterator[TextIO]:
    options = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
    with whole(path) as temporary, open(temporary, "w", **options) as file:
        yield file


def _check_output(name: str) -> Path | None:
    """Returns the path of a file to write, None if it is not asked for; raises before anything is predicted."""
    if flags.FLAGS[name].value is None:
        return None
    path = check_place(name, flags.FLAGS[name].value)
    if path.is_dir():
        raise IsADirectoryError(f"a file is written, but {path} is a folder")
    return path


def _paths(images: Iterable[str], from_file: str | None) -> Iterator[str]:
    """Yields the images of the command line, and those of the lists that it names."""
    for image in images:
        if image == "-":
            yield from _listed("-")
        else:
            yield image
    if from_file is not None:
        yield from _listed(from_file)


def _listed(name: str) -> Iterator[str]:
    """Yields the lines of a list of images, as they arrive; "-" is standard input."""
    with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else open(expanded(name), "rb") as file:
        for line in file:
            if b"\0" in line or line.startswith((b"\xff\xd8\xff", b"\x89PNG")):
                what = "standard input" if name == "-" else name
                raise ValueError(f"{what} must be a list of images, one path or address per line; got binary data")
            if path := os.fsdecode(line.rstrip(b"\r\n")):
                yield path


def run() -> None:
    """Entry point of the console script `bit-predict`."""
    _define_flags()
    command_line.run(main, _GROUPS, arguments="IMAGES ...", interrupted="no file was written")


if __name__ == "__main__":
    run()
