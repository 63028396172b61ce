"""Examples with random access by index: in memory or one file each."""

import dataclasses
import math
import os
from collections.abc import Callable

import numpy as np

from bit_keras.data.errors import DataError
from bit_keras.data.loaders import limits, preprocessing_numpy


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images with random access by index; a `Split`.

    Attributes:
        images: uint8 [N, H, W, 3], or N encoded images, or the names of N files.
        labels: int64 [N], or [N, L] padded with -1.
        in_files: True if `images` are names of files.
        groups: names of the groups that a split must not divide, such as patients or cameras, [N]; None for none.
        pixels: int64 [N], height times width of each image; None where it is not known before the images are read.
        digests: SHA-256 of each file, [N]; None where it is not known, or the images are not in files.
        reader: returns the pixels of a file, uint8 [H, W, 3], by its name, for files that are not read as they are;
            raises OSError or ValueError with the reason if it cannot. Threads share it.
    """

    images: np.ndarray
    labels: np.ndarray
    in_files: bool = False
    groups: np.ndarray | None = None
    pixels: np.ndarray | None = None
    digests: np.ndarray | None = None
    reader: Callable[[str], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an image, uint8 [H, W, 3], and its label, int64 [] or [L].

        Raises:
            DataError: the image cannot be read.
        """
        image = self.images[index]
        try:
            if self.reader is not None:
                image = self.reader(image)
            elif self.in_files:
                image = limits.read_file(image)
            if isinstance(image, bytes):
                image = preprocessing_numpy.decode(image)
        except (OSError, ValueError) as error:
            name = self.images[index] if self.in_files else f"image {index}"
            raise DataError(f"{name}: {error}", files=[name] if self.in_files else ()) from error
        return image, self.labels[index]

    def take(self, indices: np.ndarray) -> "Examples":
        optional = {name: getattr(self, name) for name in ("groups", "pixels", "digests")}
        chosen = {name: None if column is None else column[indices] for name, column in optional.items()}
        return dataclasses.replace(self, images=self.images[indices], labels=self.labels[indices], **chosen)

    subset = take

    def fits_in(self, limit: int) -> bool:
        """See `bit_keras.data.source.Split`."""
        if self.reader is not None:
            return False  # the sizes of the files are not known
        if self.images.dtype == np.uint8:
            return self.images.nbytes <= limit
        if self.in_files:
            decoded = 3 * int(self.pixels.sum())
            return decoded <= limit and decoded + sum(map(os.path.getsize, self.images)) <= limit
        return sum(len(image) + 3 * math.prod(preprocessing_numpy.header_size(image)) for image in self.images) <= limit


def no_examples() -> Examples:
    """Returns the training split of data that have none."""
    return Examples(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64))
