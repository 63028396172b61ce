"""Pictures of the worst mistakes of a detector."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from bit_keras.detection.evaluation import mistakes
from bit_keras.detection.evaluation.coco import Evaluator
from bit_keras.detection.evaluation.mistakes import Mistake
from bit_keras.detection.inference.predictor import SCORE
from bit_keras.figures import drawing, pictures
from bit_keras.figures.boxes import marked

MOST = 12  # mistakes in a figure
TRUE, FOUND = (46, 196, 255), (255, 159, 28)  # blue and orange, also for the colour-blind
_COLUMNS = 4
_SIDE = 440  # pixels of a picture
_LEAST = 96  # pixels of the part of an image that is shown
_MARGIN = 2  # side of that part, in longer sides of the box
_THICK, _THIN = 7, 3  # lines of the mistake and of the other boxes


def worst_misses(evaluator: Evaluator) -> Figure:
    """Draws the largest objects that are not found with a score above 0.3, and what was found around them."""
    chosen = mistakes.misses(evaluator, MOST, SCORE)
    if not chosen:
        return drawing.sentence(f"all objects are found with a score above {SCORE}")
    images = []
    for miss in chosen:
        boxes, scores, _ = evaluator.found(miss.index)
        images.append(_part(evaluator, miss, TRUE, boxes[scores > SCORE], FOUND))
    title = f"largest objects not found with a score above {SCORE} (thick blue), and detections (orange)"
    return _grid(evaluator, chosen, images, title, "found as", "not found")


def false_alarms(evaluator: Evaluator) -> Figure:
    """Draws the detections with the highest scores that find no object of their class, and the objects around them."""
    chosen = mistakes.false_alarms(evaluator, MOST)
    if not chosen:
        return drawing.sentence("no false alarms")
    images = []
    for alarm in chosen:
        images.append(_part(evaluator, alarm, FOUND, evaluator.source.test.boxes[alarm.index].corners, TRUE))
    title = "false alarms with the highest scores (thick orange), and objects (blue)"
    return _grid(evaluator, chosen, images, title, "in truth", "no object there")


def _grid(
    evaluator: Evaluator,
    chosen: Sequence[Mistake],
    images: Sequence[np.ndarray],
    title: str,
    instead: str,
    nothing: str,
) -> Figure:
    """Draws mistakes, each with class, what is there instead, and the image."""
    names, captions = [drawing.drawn(name) for name in evaluator.source.class_names], []
    files = evaluator.source.test.names
    for mistake in chosen:
        height, width = mistake.box[2:] - mistake.box[:2]
        measure = f"{width:.0f}x{height:.0f} pixels" if mistake.score is None else f"{mistake.score:.2f}"
        place = nothing if mistake.other is None else f"{instead} {names[mistake.other]}"
        file = pictures.short_name(files[mistake.index])
        captions.append(f"{names[mistake.label]} {measure}\n{place}\nimage {file}")
    return pictures.grid(images, captions, title, lines=3, columns=_COLUMNS)


def _part(evaluator: Evaluator, mistake: Mistake, colour: tuple, others: np.ndarray, other_colour: tuple) -> np.ndarray:
    """Returns a picture of a mistake and its surroundings, uint8 [S, S, 3]."""
    image, _ = evaluator.source.test.read(mistake.index)
    window, (top, left) = cut_out(image, mistake.box)
    boxes = np.concatenate([mistake.box[None], others]) - [top, left, top, left]
    boxes = np.clip(boxes, 0, len(window))
    boxes = boxes[[0, *(1 + np.flatnonzero((boxes[1:, 2:] > boxes[1:, :2]).all(-1)))]]
    count = len(boxes) - 1
    return marked(window, boxes, [colour, *[other_colour] * count], lines=[_THICK, *[_THIN] * count], side=_SIDE)


def cut_out(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns a square part of an image around a box, uint8 [S, S, 3] with grey beyond the image, and its top left.

    The part is twice as large as the box, 96 pixels at least, and no larger than the longer side of the image.
    """
    shape = np.array(image.shape[:2])
    side = int(min(max(np.ceil(_MARGIN * (box[2:] - box[:2]).max()), _LEAST), shape.max()))
    start = np.round((box[:2] + box[2:]) / 2 - side / 2).astype(int)
    top, left = (int(each) for each in np.clip(start, 0, np.maximum(shape - side, 0)))
    window = np.full((side, side, 3), 200, np.uint8)
    part = image[top : top + side, left : left + side]
    window[: part.shape[0], : part.shape[1]] = part
    return window, (top, left)
