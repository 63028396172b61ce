"""Program: find objects in photos.

Each of IMAGES is an image file; a folder, of which all image files are taken, with those of its subfolders; a pattern
such as 'photos/*.jpg', in quotes if the shell should not expand it; an address that begins with http:// or https://; or
"-" for a list of these on standard input, one per line. What cannot be read is listed with the reason. The exit status
is 0 if any image was read, and 1 if none was.

Standard output is one line per object: file, class, score, and the edges of its box in pixels of the upright image.

The JSON file has COCO's form of results: a list with "image_id", "category_id", "bbox" as [x, y, width, height] and
"score" of each object, and in addition "file_name" and "category_name". Without --ids, "image_id" is the file name, and
the classes of the detector count from 1.

Example:
    python -m bit_keras.detection predict --model=runs/birds photos/ --json=found.json --pictures=found
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from bit_keras.detection.inference.found import Found
from bit_keras.detection.inference.pictures import PictureFolder
from bit_keras.detection.inference.predictor import SCORE, DetectionPredictor
from bit_keras.detection.inference.results import CocoIds, ResultsWriter, lines
from bit_keras.detection.network.decoding import IOU, KEPT
from bit_keras.inference.inputs import find
from bit_keras.inference.named import check_output, named_images, print_lines
from bit_keras.inference.watched import Watched, watched
from bit_keras.system import command_line
from bit_keras.system.files import whole
from bit_keras.system.logs import logger
from bit_keras.system.paths import check_empty_folder, expanded
from bit_keras.system.texts import counted

GROUPS = {
    "model": ("model", "resolution"),
    "images": ("from_file", "batch_size"),
    "objects": ("score", "iou", "limit"),
    "results": ("json", "ids", "pictures"),
}
# Further arguments of `runs.program.run`.
RUN = {"arguments": "IMAGES ...", "interrupted": "the JSON file was not written"}
_LINES_TOGETHER = 50  # images whose lines are aligned with each other


def define_flags() -> None:
    flags.DEFINE_string(
        "model",
        None,
        "Weight file of a detector or its address, or the folder of its run (its best.npz, or else weights.npz).",
        required=True,
    )
    flags.DEFINE_integer(
        "resolution", None, "Side of the images in pixels; that of the weights if not given.", lower_bound=2
    )
    flags.DEFINE_string("from_file", None, 'Text file that lists more images, one per line; "-" for standard input.')
    flags.DEFINE_integer("batch_size", 8, "Images per batch.", lower_bound=1)
    flags.DEFINE_float(
        "score", SCORE, "Objects with this score or less are left out.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_float(
        "iou",
        IOU,
        "Of two boxes of a class that overlap by more than this, the one with the lower score is left out.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_integer("limit", KEPT, "Most objects of an image.", lower_bound=1)
    flags.DEFINE_string("json", None, "JSON file to write, in COCO's form of results with names of files and classes.")
    flags.DEFINE_string(
        "ids", None, "JSON file of a data set in COCO's form, whose ids of images and classes --json should have."
    )
    flags.DEFINE_string(
        "pictures", None, "New or empty folder to write: a PNG file per image, with boxes, names and scores."
    )


def main(*images: str) -> None:
    values = flags.FLAGS
    if not images and values.from_file is None:
        raise command_line.UsageError("name images: files, folders, patterns, addresses, or - for a list of them")
    if values.ids is not None and values.json is None:
        raise command_line.UsageError("--ids is for --json, which is not given")
    json_file = check_output("json", values.json)
    folder = values.pictures and check_empty_folder("pictures", values.pictures)
    names = ("score", "resolution", "batch_size", "iou", "limit")
    predictor = DetectionPredictor(values.model, **{name: values[name].value for name in names})
    ids = None if values.ids is None else CocoIds(expanded(values.ids), predictor.names)
    paths, total = named_images(images, values.from_file), None
    if values.from_file is None and "-" not in images:
        paths = [each.name for each in find(images)]  # now: pictures may be written to a folder of images
        total = len(paths)
    if ids is not None and total is not None:
        for path in paths:
            ids.of_image(path)  # early: the last one may be hours away
    rows = predictor.iterate(paths, with_content=folder is not None)
    with watched(rows, total) as found:
        objects = _write(found, json_file, ids, folder and PictureFolder(folder))
    if not found.count:
        raise ValueError("the list of images is empty")
    logger.info("%s with a score above %g", counted(objects, "object"), values.score)
    if json_file is not None:
        logger.info("detections in %s", json_file)
    if found.errors == found.count:
        raise ValueError("none of the images can be read")
    if folder is not None:
        logger.info("pictures in %s", folder)


def _write(found: Watched, json_file: Path | None, ids: CocoIds | None, pictures: PictureFolder | None) -> int:
    """Writes JSON, pictures and, from time to time, standard output; returns the number of objects."""
    waiting, objects = [], 0
    with contextlib.nullcontext() if json_file is None else _open_json(json_file, ids) as results:
        for row in found:
            objects += len(row)
            if results is not None:
                results.write(row)
            if pictures is not None and row.error is None:
                pictures.write(row)
            waiting.append(row)
            if len(waiting) == _LINES_TOGETHER:
                found.without_bar(functools.partial(_print, waiting))
                waiting = []
        found.without_bar(functools.partial(_print, waiting))
    return objects


def _print(rows: Sequence[Found]) -> None:
    print_lines(lines(rows))


@contextlib.contextmanager
def _open_json(path: Path, ids: CocoIds | None) -> Iterator[ResultsWriter]:
    with whole(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        writer = ResultsWriter(file, ids)
        yield writer
        writer.close()
