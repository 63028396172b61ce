"""Images of painted rectangles on black, whose boxes a test can find again in their pixels."""

import json
import runpy
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CONSUMERS = Path(__file__).parents[1] / "consumers"

# A value for each class; a rectangle is painted with it in all channels.
COLOURS = {"cat": 120, "dog": 180, "cow": 250}
# {image: (height, width, [(class, top, left, bottom, right)])}
SCENES = {
    "a": (40, 60, [("cat", 5, 10, 20, 30), ("dog", 22, 35, 38, 55)]),
    "b": (60, 40, [("cow", 0, 0, 30, 40)]),
    "c": (50, 50, []),
    "d": (30, 64, [("dog", 4, 3, 28, 60)]),
    "e": (48, 48, [("cat", 1, 1, 4, 4), ("cow", 10, 8, 48, 48)]),
}


def paint(height: int, width: int, boxes: list) -> np.ndarray:
    """Returns uint8 [height, width, 3] with these rectangles."""
    image = np.zeros((height, width, 3), np.uint8)
    for name, top, left, bottom, right in boxes:
        image[top:bottom, left:right] = COLOURS[name]
    return image


def write_images(folder: Path, names=tuple(SCENES)) -> None:
    """Writes the scenes of these names as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(paint(*SCENES[name])).save(folder / f"{name}.png")


def coco_content(names=tuple(SCENES), **changes) -> dict:
    """Returns the content of a COCO file; the ids of the categories have gaps and are not in order."""
    categories = {"dog": 9, "cat": 3, "cow": 41}
    images, annotations = [], []
    for number, name in enumerate(names):
        height, width, boxes = SCENES[name]
        images.append({"id": 100 + number, "file_name": f"{name}.png", "height": height, "width": width})
        for label, top, left, bottom, right in boxes:
            annotations.append(
                {
                    "id": len(annotations),  # from 0 on, which pycocotools does not take
                    "image_id": 100 + number,
                    "category_id": categories[label],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top) / 2,
                    "iscrowd": 0,
                    "segmentation": [[0, 0, 1, 1, 2, 2]],
                }
            )
    listed = [{"id": number, "name": label} for label, number in categories.items()]
    return {"images": images, "annotations": annotations, "categories": listed, **changes}


@pytest.fixture(scope="module")
def three_blocks() -> Iterator[None]:
    """The smallest variant with the three stages that a detector reads."""
    from bit_keras.zoo.variants import VARIANTS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "three_blocks", None)  # restores the table
        runpy.run_path(str(CONSUMERS / "three_blocks.py"))
        yield


@pytest.fixture
def write_coco(tmp_path) -> Callable[..., Path]:
    """Returns a function that writes a COCO file beside the images of all scenes, and returns its path."""

    def write(content: dict | None = None, name: str = "boxes.json") -> Path:
        write_images(tmp_path)
        path = tmp_path / name
        path.write_text(json.dumps(coco_content() if content is None else content))
        return path

    return write


@pytest.fixture(scope="session")
def scenes() -> types.SimpleNamespace:
    """What this module defines, for tests, which cannot import it."""
    names = ("COLOURS", "SCENES", "coco_content", "paint", "write_images")
    return types.SimpleNamespace(**{name: globals()[name] for name in names})
