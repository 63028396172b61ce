"""Pictures of emoji in two designs, Twitter's (CC BY 4.0) and Google's (Apache 2.0), from npm packages."""

import functools
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from pretraining import npm

SIDE = 64  # pixels


def read() -> Iterator[tuple[dict, str, Callable[[dict], Image.Image]]]:
    """Yields (row, design, picture) for every emoji of every design, in the order of emoji.json.

    `row` is a row of emoji.json: short_name, subcategory and, for emoji with skin tones, skin_variations. `picture`
    returns the RGBA picture of a row or of one of its variations; call it before the next iteration.
    """
    for name in npm.EMOJI:
        design = Path(name).name.split("-")[2]
        with npm.archive(name) as archive:
            for row in json.load(archive.extractfile("package/emoji.json")):
                if row[f"has_img_{design}"]:
                    yield row, design, functools.partial(_picture, archive, design)


def _picture(archive: tarfile.TarFile, design: str, row: dict) -> Image.Image:
    content = archive.extractfile(f"package/img/{design}/{SIDE}/{row['image']}").read()
    return Image.open(io.BytesIO(content)).convert("RGBA")
