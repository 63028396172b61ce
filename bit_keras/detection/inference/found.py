"""The result for one image: the objects that a detector found in it."""

import dataclasses

import numpy as np

from bit_keras.data.loaders import preprocessing_numpy


def _none() -> np.ndarray:
    return np.zeros((0, 4), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """The D objects found in one image, the surest one first, or the reason why there are none.

    Attributes:
        file: path or address of the image, or "image 3" for the fourth one of those that are in memory.
        boxes: float32 [D, 4], [top, left, bottom, right] in pixels of the upright image.
        scores: their scores, in [0, 1].
        names: names of their classes.
        classes: the outputs of the network that these are, from 0 on.
        size: height and width of the upright image in pixels; None if it cannot be read.
        error: why the image cannot be read, None if it can.
        content: what the image was read from, a file's bytes or an array with values in [0, 255], if it was asked for.

    Example:
        >>> row = detection.predict("runs/boxes", "robin.jpg", score=0.0, verbose=False)[0]  # of the example of `train`
        >>> row.size, row.boxes.shape == (len(row), 4), row.error
        ((40, 50), True, None)
        >>> sorted(row.to_dict())
        ['error', 'file', 'objects', 'size']
    """

    file: str
    boxes: np.ndarray = dataclasses.field(default_factory=_none)
    scores: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    size: tuple[int, int] | None = None
    error: str | None = None
    content: bytes | np.ndarray | None = dataclasses.field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    def pixels(self) -> np.ndarray:
        """Returns the upright image, uint8 [H, W, 3].

        Raises:
            ValueError: its content was not asked for.
        """
        if self.content is None:
            raise ValueError(f"{self.file} has no pixels: ask for them by with_content=True")
        return decoded(self.content)

    def to_dict(self) -> dict:
        """Returns {"file", "size", "objects": [{"class", "score", "index", "box"}, ...], "error"}, JSON-able."""
        rows = zip(self.names, self.scores, self.classes, self.boxes.tolist())
        objects = [{"class": name, "score": score, "index": index, "box": box} for name, score, index, box in rows]
        return {"file": self.file, "size": self.size and list(self.size), "objects": objects, "error": self.error}


def decoded(content: bytes | np.ndarray) -> np.ndarray:
    """Returns the content of an image as uint8 [H, W, 3], upright.

    Args:
        content: of a file; or an array [H, W, 3] with values in [0, 255].

    Raises:
        ValueError: as `preprocessing_numpy.decode`.
    """
    if isinstance(content, bytes):
        return preprocessing_numpy.decode(content)
    return np.clip(np.round(content), 0, 255).astype(np.uint8)
