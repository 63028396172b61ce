"""A grid of pictures with captions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from bit_keras.figures import drawing
from bit_keras.system.texts import one_line

_COLUMNS = 6
_WIDTH = 10.2  # inches of a figure


def grid(
    images: Sequence[np.ndarray], captions: Sequence[str], title: str, lines: int = 2, columns: int = _COLUMNS
) -> Figure:
    """Draws square images, uint8 [S, S, 3] or floats in [0, 1], in rows, each with its caption below.

    Args:
        images: one or more.
        captions: one per image; names in them as `drawing.drawn` or `short_name` returns them.
        title: of the figure, a text of this library.
        lines: most lines of a caption.
        columns: pictures in a row; of fewer columns the pictures are larger.
    """
    rows = -(-len(images) // columns)
    pitch = 1.2 + 0.15 * lines * columns / _COLUMNS  # 1 is the side of a picture
    figure = Figure(figsize=(_WIDTH, 0.8627 * _WIDTH / columns * pitch * rows + 0.6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()  # one for all images: laying out many axes takes seconds
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = 1.15 * (place % columns), -pitch * (place // columns)
        axes.imshow(image, extent=(left, left + 1, top - 1, top))
        axes.text(left + 0.5, top - 1.05, caption, fontsize=8, ha="center", va="top", **drawing.literal())
    axes.set(xlim=(-0.1, 1.15 * columns), ylim=(-pitch * rows, 0.1), aspect="equal")
    axes.set_axis_off()
    return figure


def short_name(file: str) -> str:
    """Returns the end of a path or address that fits below a picture."""
    name = one_line(file.rstrip("/").rpartition("/")[2] or file)
    return name if len(name) <= drawing.LONGEST else f"...{name[3 - drawing.LONGEST :]}"
