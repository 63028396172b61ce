"""A grid of pictures with captions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

_COLUMNS = 6
_LONGEST = 24  # characters of a file name that fit below a picture


def grid(images: Sequence[np.ndarray], captions: Sequence[str], title: str, lines: int = 2) -> Figure:
    """Draws square images, uint8 [S, S, 3] or floats in [0, 1], in rows of six, each with its caption below.

    Args:
        images, captions: one or more.
        title: of the figure.
        lines: most lines of a caption.
    """
    rows = -(-len(images) // _COLUMNS)
    pitch = 1.2 + 0.15 * lines  # 1 is the side of a picture
    figure = Figure(figsize=(1.7 * _COLUMNS, 1.467 * pitch * rows + 0.6), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots()  # one for all images: laying out many axes takes seconds
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = 1.15 * (place % _COLUMNS), -pitch * (place // _COLUMNS)
        axes.imshow(image, extent=(left, left + 1, top - 1, top))
        # A dollar sign in a name begins no formula.
        axes.text(left + 0.5, top - 1.05, caption, fontsize=8, ha="center", va="top", parse_math=False)
    axes.set(xlim=(-0.1, 1.15 * _COLUMNS), ylim=(-pitch * rows, 0.1), aspect="equal")
    axes.set_axis_off()
    return figure


def short_name(file: str) -> str:
    """Returns the end of a path or address that fits below a picture."""
    name = file.rstrip("/").rpartition("/")[2] or file
    return name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}"
