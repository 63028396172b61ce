"""A contact sheet: small pictures of images with their most likely class."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure

from bit_keras.figures import drawing, pictures
from bit_keras.system.texts import counted

MOST = 120  # images on a sheet
SIDE = 160  # pixels of a picture


class Row(Protocol):
    """What a sheet shows of an image; see `bit_keras.predict.Prediction`."""

    file: str
    name: str | None
    probability: float | None
    error: str | None
    thumbnail: np.ndarray | None


def write(path: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Writes the sheet of these images as a PNG file, whole or not at all."""
    drawing.save(contact_sheet(rows), Path(path))


def contact_sheet(rows: Sequence[Row]) -> Figure:
    """Draws images with file name, most likely class and its probability; a grey square for one that is unreadable."""
    grey = np.full((SIDE, SIDE, 3), 200, np.uint8)
    images = [grey if row.thumbnail is None else row.thumbnail for row in rows]
    captions = [f"{pictures.short_name(row.file)}\n{_class(row)}" for row in rows]
    readable = sum(row.error is None for row in rows)
    return pictures.grid(images, captions, counted(readable, "image"))


def _class(row: Row) -> str:
    return "cannot be read" if row.error is not None else f"{drawing.drawn(row.name)} {row.probability:.1%}"
