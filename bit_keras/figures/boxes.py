"""Images with boxes drawn around the objects in them, and captions beside the boxes."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

from bit_keras.figures import fonts

# Pixels of the longer side of a picture: smaller images are enlarged, larger ones reduced.
_LEAST, _MOST, _THINNEST = 512, 2048, 32
_BLACK = (0, 0, 0)
# Bright, and different from each other also for the colour-blind where there are few.
COLOURS = (
    *((255, 159, 28), (46, 196, 255), (255, 92, 138), (120, 220, 60), (190, 140, 255), (255, 225, 60)),
    *((0, 210, 170), (255, 110, 60), (150, 180, 255), (230, 130, 230), (200, 200, 120), (160, 230, 230)),
)
# How much worse it is to cover a whole caption than a whole object.
_CAPTION = 3

Corners = tuple[int, int, int, int]  # top, left, bottom, right


def colour_of(index: int) -> tuple[int, int, int]:
    """Returns the colour of a class, the same in all pictures; after twelve classes they begin again."""
    return COLOURS[index % len(COLOURS)]


def marked(
    image: np.ndarray,
    boxes: Sequence[Sequence[float]] | np.ndarray,
    colours: Sequence[tuple[int, int, int]],
    captions: Sequence[str] = (),
    lines: Sequence[int] | None = None,
    side: int | None = None,
) -> np.ndarray:
    """Returns a picture of an image with frames around boxes, which hide nothing in them unless they meet the border.

    Frames have a black edge on both sides, so that they stand out from any background.

    Args:
        image: uint8 [H, W, 3].
        boxes: [D, 4], [top, left, bottom, right] in pixels of the image; the first are drawn on top.
        colours: D colours, uint8 RGB.
        captions: D texts to write beside the boxes, as `drawing.drawn` returns names in them; () for none.
        lines: D widths in pixels of the coloured lines; None to choose one by the size of the picture.
        side: pixels of the longer side of the picture; None for those of the image, but small images are then enlarged
            by a whole number, to 512 or more, and large ones reduced to 2,048, or to 32 on the shorter side.

    Returns:
        uint8 [H', W', 3].
    """
    height, width = image.shape[:2]
    rows, columns = _shown(height, width, side)
    picture = Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC)
    canvas = np.array(picture)
    if lines is None:
        lines = [max(2, round(max(rows, columns) / 300))] * len(boxes)
    factors = np.tile([rows / height, columns / width], 2)
    scaled = np.round(np.asarray(boxes, np.float64).reshape(-1, 4) * factors).astype(int)
    frames = [_frame(corners, line + 2, rows, columns) for corners, line in zip(scaled.tolist(), lines, strict=True)]
    for frame, colour, line in list(zip(frames, colours, lines, strict=True))[::-1]:
        _ring(canvas, frame, line + 2, _BLACK)
        _ring(canvas, _shrunk(frame, 1), line, colour)
    if not len(captions):
        return canvas
    return _with_captions(canvas, frames, colours, captions)


def _shown(height: int, width: int, side: int | None) -> tuple[int, int]:
    """Returns height and width of the picture of an image."""
    longer = max(height, width)
    if side is None and longer > _MOST:
        shorter = min(height, width)
        side = max(_MOST, round(longer * min(_THINNEST, shorter) / shorter))  # a strip must remain visible
    if side is not None:
        return tuple(max(1, round(each * side / longer)) for each in (height, width))
    times = -(-_LEAST // longer)
    return height * times, width * times


def _frame(corners: Sequence[int], thick: int, rows: int, columns: int) -> Corners:
    """Returns the outer corners of a frame around a box, inside of the picture."""
    top, left, bottom, right = corners
    return max(top - thick, 0), max(left - thick, 0), min(bottom + thick, rows), min(right + thick, columns)


def _shrunk(frame: Corners, by: int) -> Corners:
    top, left, bottom, right = frame
    return top + by, left + by, bottom - by, right - by


def _ring(canvas: np.ndarray, frame: Corners, thick: int, colour: tuple[int, int, int]) -> None:
    """Paints the border of a rectangle, from its outer corners inwards."""
    top, left, bottom, right = frame
    for rows, columns in (
        (slice(top, min(top + thick, bottom)), slice(left, right)),
        (slice(max(bottom - thick, top), bottom), slice(left, right)),
        (slice(top, bottom), slice(left, min(left + thick, right))),
        (slice(top, bottom), slice(max(right - thick, left), right)),
    ):
        canvas[rows, columns] = colour


def _with_captions(canvas: np.ndarray, frames: Sequence[Corners], colours: Sequence, captions: Sequence[str]):
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    rows, columns = canvas.shape[:2]
    size = min(max(14, round(max(rows, columns) / 45)), 36)
    ascent, descent = fonts.height(size)
    gap, placed = max(2, size // 5), []
    for frame, colour, caption in zip(frames, colours, captions, strict=True):
        extent = (ascent + descent + gap, fonts.width(caption, size) + 2 * gap)
        place = _place(frame, extent, (rows, columns), np.array(frames), np.array(placed).reshape(-1, 4))
        placed.append(place)
        top, left, bottom, right = place
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour, outline=_BLACK)
        fonts.write(draw, (left + gap, top + gap // 2 + ascent), caption, size, _BLACK)
    return np.array(picture)


def _place(
    frame: Corners, extent: tuple[int, int], size: tuple[int, int], frames: np.ndarray, placed: np.ndarray
) -> Corners:
    """Returns where a caption beside its frame hides least of all objects and of the captions that have a place."""

    def cost(place: Corners) -> float:
        return _hidden(place, frames) + _CAPTION * _hidden(place, placed)

    return min(_places(frame, extent, size), key=cost)  # of equal ones the first


def _places(frame: Corners, extent: tuple[int, int], size: tuple[int, int]) -> Iterator[Corners]:
    """Yields the places of a caption, the usual one first; all are in the picture if it is large enough."""
    (top, left, bottom, right), (height, width) = frame, extent
    for down, across in (
        *((top - height, left), (bottom, left), (top - height, right - width), (bottom, right - width)),
        *((top, right), (top, left - width), (bottom - height, right), (bottom - height, left - width)),
        *((top, left), (bottom - height, right - width)),
    ):
        down, across = (max(0, min(at, whole - part)) for at, whole, part in zip((down, across), size, extent))
        yield down, across, down + height, across + width


def _hidden(place: Corners, others: np.ndarray) -> float:
    """Returns the sum of the fractions of rectangles [K, 4] that one covers."""
    place = np.array(place)
    sides = np.minimum(place[2:], others[:, 2:]) - np.maximum(place[:2], others[:, :2])
    areas = (others[:, 2:] - others[:, :2]).prod(-1)
    return float((np.maximum(sides, 0).prod(-1) / np.maximum(areas, 1)).sum())
