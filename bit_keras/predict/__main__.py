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
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from absl import flags

from bit_keras.figures import contact_sheet
from bit_keras.inference.flags import define_model_flags
from bit_keras.inference.inputs import find
from bit_keras.inference.named import check_output, named_images, print_lines
from bit_keras.inference.prediction import Prediction
from bit_keras.inference.predictor import Predictor
from bit_keras.inference.watched import Watched, watched
from bit_keras.predict import tables
from bit_keras.system import command_line
from bit_keras.system.files import whole
from bit_keras.system.logs import logger

_GROUPS = {
    "model": ("model", "class_names", "resolution", "precision"),
    "images": ("from_file", "batch_size", "loader"),
    "results": ("top", "json", "csv", "sheet"),
}
_LINES_TOGETHER = 250  # lines of a table that are aligned with each other


def _define_flags() -> None:
    define_model_flags()
    flags.DEFINE_string("from_file", None, 'Text file that lists more images, one per line; "-" for standard input.')
    flags.DEFINE_integer("batch_size", 32, "Images per batch.", lower_bound=1)
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
    csv, sheet = (check_output(name, values[name].value) for name in ("csv", "sheet"))
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
    rows = predictor.iterate(
        named_images(images, values.from_file), thumbnails=None if sheet is None else contact_sheet.SIDE
    )
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
    print_lines(lines)


@contextlib.contextmanager
def _open_csv(path: Path) -> Iterator[TextIO]:
    options = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
    with whole(path) as temporary, open(temporary, "w", **options) as file:
        yield file


def run() -> None:
    """Entry point of the console script `bit-predict`."""
    _define_flags()
    command_line.run(main, _GROUPS, arguments="IMAGES ...", interrupted="no file was written")


if __name__ == "__main__":
    run()
