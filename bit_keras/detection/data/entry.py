"""An image as a file of annotations lists it, before it is checked, and what the numbers of its boxes mean."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bit_keras.data.loaders import limits
from bit_keras.detection.data.annotations import corners_of


@dataclasses.dataclass(frozen=True)
class Form:
    """What the numbers of all boxes of some data are declared to mean.

    Attributes:
        order: one of `annotations.BOX_FORMATS`.
        relative: True for parts of the height and width of the image, in [0, 1]; False for pixels.
        first: number of the first row and column of pixels. With 1 both corners belong to the box, as in VOC: a box
            from 1 to 3 has three columns.
        other_order: way out, for messages, if the numbers have another order, for which "{}" stands.
        other_unit: way out if they have the other unit.
        otherwise: way out if boxes do not fit and no other order is found.
    """

    order: str
    relative: bool = False
    first: int = 0
    other_order: str = ""
    other_unit: str = ""
    otherwise: str = ""

    def corners(self, values: np.ndarray, size: tuple[int, int] | None, order: str | None = None) -> np.ndarray:
        """Returns float64 [G, 4], [top, left, bottom, right] in pixels of an image of this (height, width).

        Args:
            values: float64 [G, 4], the numbers of the boxes.
            size: None for an unknown one; relative boxes then stay relative.
            order: None for the declared one.
        """
        corners = corners_of(values, order or self.order)
        if self.relative and size is not None:
            corners = corners * [*size, *size]
        return corners - [self.first, self.first, 0, 0]


@dataclasses.dataclass(eq=False)
class Entry:
    """An image as a file of annotations lists it, before it is checked.

    Attributes:
        path: the image file.
        id: name or number of the image in its data.
        values: float64 [G, 4], the numbers of its boxes.
        labels: int32 [G]. A box of an unknown class is not here, but in `faults`.
        ignored: bool [G], see `Boxes`.
        areas: float64 [G] in square pixels; NaN for the area of the box.
        form: what `values` mean, the same for all images of the data.
        size: (height, width) that the file of annotations states; None if it does not.
        places: where the file of annotations has each box, [G], for messages; () for their numbers.
        faults: what is known to be wrong.
    """

    path: Path
    id: int | str
    values: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    form: Form
    size: tuple[int, int] | None = None
    places: Sequence[str] = ()
    faults: list[str] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        return limits.printable(self.path)

    def place(self, index: int) -> str:
        """Returns the name of a box for messages."""
        return self.places[index] if self.places else f"box {index + 1}"

    def numbers(self, index: int) -> str:
        """Returns the name of a box and its numbers, as the annotations have them."""
        return f"{self.place(index)} [{', '.join(f'{value:g}' for value in self.values[index])}]"
