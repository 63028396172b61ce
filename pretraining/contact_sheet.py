"""A picture of many images with the boxes on them, to see whether the boxes are right."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]  # left, top, right, bottom: edges in pixels
_GAP = 4  # pixels between images
_COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#008080",
    "#9a6324",
    "#800000",
    "#808000",
    "#000075",
)


def draw(
    images: Sequence[tuple[Image.Image, Sequence[tuple[str, Box]]]],
    class_names: Sequence[str],
    side: int = 256,
    columns: int = 6,
    captions: bool = True,
) -> Image.Image:
    """Returns the images in rows, enlarged, with a line around each box in the colour of its class.

    Args:
        images: (RGB image, its boxes as (class name, box)).
        class_names: all of them, in the order of the colours.
        side: pixels of the longer side of each image on the sheet.
        columns: images in a row.
        captions: whether to write the names of the classes.
    """
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (side + _GAP), rows * (side + _GAP)), "white")
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(class_names)}
    for place, (image, boxes) in enumerate(images):
        corner = (place % columns * (side + _GAP), place // columns * (side + _GAP))
        sheet.paste(_drawn(image, boxes, colours, side, captions), corner)
    return sheet


def _drawn(
    image: Image.Image, boxes: Sequence[tuple[str, Box]], colours: dict[str, str], side: int, captions: bool
) -> Image.Image:
    scale = side / max(image.size)
    large = image.resize([round(length * scale) for length in image.size], Image.Resampling.NEAREST)
    pen, line = ImageDraw.Draw(large), max(1, side // 200)
    for name, box in boxes:
        left, top, right, bottom = (round(edge * scale) for edge in box)
        outside = (left - line, top - line, right + line - 1, bottom + line - 1)
        pen.rectangle(outside, outline=colours[name], width=line)
        if captions:
            pen.text((left + 1, top - 1), name, fill="white", stroke_width=2, stroke_fill=colours[name])
    return large
