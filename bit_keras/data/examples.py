"""Examples that an index finds: in memory or one file each."""

import dataclasses

import numpy as np
import tensorflow as tf

from bit_keras.data import preprocessing


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images that an index finds; a `Split`.

    Attributes:
        images: uint8 [N, H, W, 3], or N encoded images, or the names of N files.
        labels: int64 [N].
        in_files: True where `images` are names of files.
        orientations: int32 [N], as EXIF has them; with them encoded images are decoded and turned upright.
    """

    images: np.ndarray
    labels: np.ndarray
    in_files: bool = False
    orientations: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def in_order(self) -> tf.data.Dataset:
        return self._read(tf.data.Dataset.range(len(self)))

    def shuffled(self, seed: int, start: int) -> tf.data.Dataset:
        def indices(number: tf.Tensor) -> tf.data.Dataset:
            order = tf.random.experimental.stateless_shuffle(
                tf.range(len(self), dtype=tf.int64), seed=tf.stack([tf.constant(seed, tf.int64), number]), alg="philox"
            )
            return tf.data.Dataset.from_tensor_slices(order)

        return self._read(passes(indices, len(self), start))

    def take(self, indices: np.ndarray) -> "Examples":
        orientations = None if self.orientations is None else self.orientations[indices]
        return dataclasses.replace(
            self, images=self.images[indices], labels=self.labels[indices], orientations=orientations
        )

    def _read(self, indices: tf.data.Dataset) -> tf.data.Dataset:
        with tf.device("CPU"):  # an accelerator's memory is for the model
            images, labels = tf.constant(self.images), tf.constant(self.labels)
            orientations = None if self.orientations is None else tf.constant(self.orientations)

        def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            image = tf.gather(images, index)
            if self.in_files:
                image = tf.io.read_file(image)
            if orientations is not None:
                image = preprocessing.upright(preprocessing.decode(image), tf.gather(orientations, index))
            return image, tf.gather(labels, index)

        return indices.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def passes(one_pass, length: int, start: int) -> tf.data.Dataset:
    """Returns endless passes over a split.

    Args:
        one_pass: function from the number of a pass, an int64 scalar, to its dataset.
        length: of a pass. Whole passes before `start` are not made at all.
        start: position of the first element.
    """
    numbers = tf.data.Dataset.counter(start // length)
    return numbers.flat_map(one_pass).skip(start % length)
