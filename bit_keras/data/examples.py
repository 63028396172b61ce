"""Examples with random access by index: in memory or one file each."""

import dataclasses
from pathlib import Path

import numpy as np

from bit_keras.data.errors import DataError
from bit_keras.data.loaders import preprocessing_numpy


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images with random access by index; a `Split`.

    Attributes:
        images: uint8 [N, H, W, 3], or N encoded images, or the names of N files.
        labels: int64 [N], or [N, L] padded with -1.
        in_files: True if `images` are names of files.
        groups: names of the groups that a split must not divide, such as patients or cameras, [N]; None for none.
    """

    images: np.ndarray
    labels: np.ndarray
    in_files: bool = False
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an image, uint8 [H, W, 3], and its label, int64 [] or [L].

        Raises:
            DataError: the image cannot be read.
        """
        image = self.images[index]
        try:
            if self.in_files:
                image = Path(image).read_bytes()
            if isinstance(image, bytes):
                image = preprocessing_numpy.decode(image)
        except (OSError, ValueError) as error:
            name = self.images[index] if self.in_files else f"image {index}"
            raise DataError(f"{name}: {error}", files=[name] if self.in_files else ()) from error
        return image, self.labels[index]

    def take(self, indices: np.ndarray) -> "Examples":
        groups = None if self.groups is None else self.groups[indices]
        return dataclasses.replace(self, images=self.images[indices], labels=self.labels[indices], groups=groups)

    subset = take
