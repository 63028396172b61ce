"""Batches of images with boxes for training and evaluation, from grain on every backend."""

import types

import keras
import numpy as np

from bit_keras.detection.data.annotations import Annotated, DetectionSource
from bit_keras.detection.data.augmentation import BITS, SCALES, test_image, to_image, train_image
from bit_keras.detection.data.scan import check_max_boxes
from bit_keras.system.checks import check_integer, describe, known_arguments
from bit_keras.system.optional import require

MAX_BOXES = 100  # MAX_NUM_INSTANCES in models/official/retinanet/dataloader.py of tensorflow/tpu
_LARGEST_SCALE = 10
_AUGMENTATION = 1  # stream of random numbers, as in `grain_data`


@known_arguments
def train_batches(
    source: DetectionSource,
    *,
    batch_size: int,
    size: int,
    seed: int,
    start_step: int = 0,
    shard: tuple[int, int] = (0, 1),
    max_boxes: int = MAX_BOXES,
    scales: tuple[float, float] = SCALES,
    flip: bool = True,
) -> keras.utils.PyDataset:
    """Returns the endless training batches of a task; batch k is a pure function of `seed` and k.

    Args:
        source: the task. Ignored boxes are left out; images without boxes are not.
        batch_size: images per batch over all shards, 1 or more.
        size: side in pixels of the images in the batch, 2 or more.
        seed: of the order of the images and of the augmentation, 0 or more.
        start_step: index k of the first batch, 0 or more. Batches are bit-identical to those of a start at 0.
        shard: (index, count): each batch contains only the images whose position in the full batch, modulo count, is
            index; they are bit-identical to those in the full batch. `count` must divide `batch_size`.
        max_boxes: G, most boxes of an image, to which those of all images are padded.
        scales: least and greatest random scale of an image, see `augmentation.train_image`; (1, 1) for none.
        flip: True mirrors half of the images, but not of a source where that would change the class.

    Returns:
        A `keras.utils.PyDataset` with elements (images, targets): float32 [batch_size / count, size, size, 3] in
        [-1, 1], where padding is 0; {"boxes": float32 [batch_size / count, G, 4], [top, left, bottom, right] in pixels
        of these images, padded with 0; "labels": int32 [batch_size / count, G], padded with -1}.

    Raises:
        DataError: an image has more than `max_boxes` boxes, or the source is for evaluation only. While the batches are
            read: an image cannot be read any more.
        ValueError: an argument is out of its range.
    """
    source.check_trainable()
    _check_sizes(batch_size=batch_size, size=size)
    check_integer("seed", seed, minimum=0)
    check_integer("start_step", start_step, minimum=0)
    check_integer("max_boxes", max_boxes)
    check_scales(*scales)
    index, count = shard
    if not 0 <= index < count or batch_size % count:
        raise ValueError(
            f"shard must be (index, count) with 0 <= index < count, and count divide batch_size {batch_size}; "
            f"got {shard}"
        )
    split, flip = source.train, flip and source.flip
    check_max_boxes(split, max_boxes)
    start = start_step * batch_size + index
    engine = _engine()
    index_at = engine.train_order(len(split), seed)

    def make(number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        position = start + number * count
        image, boxes = split.read(index_at(position))
        boxes = boxes.take(~boxes.ignored)
        bits = engine.random_bits(seed, _AUGMENTATION, position, BITS)
        image, corners, kept = train_image(image, boxes.corners, bits, size=size, scales=scales, flip=flip)
        targets = {"boxes": np.zeros((max_boxes, 4), np.float32), "labels": np.full(max_boxes, -1, np.int32)}
        targets["boxes"][: len(kept)], targets["labels"][: len(kept)] = corners, boxes.labels[kept]
        return image, targets

    return engine.Batches(make, None, batch_size // count)


def check_scales(least: float, greatest: float) -> None:
    """Raises ValueError unless these are the least and the greatest random scale of an image."""
    if not 0 < least <= greatest <= _LARGEST_SCALE:
        raise ValueError(
            f"the scales of training images must be more than 0 and at most {_LARGEST_SCALE}, the least first; got "
            f"{describe(least)} and {describe(greatest)}"
        )


def train_names(source: DetectionSource, *, batch_size: int, seed: int, step: int) -> list[str]:
    """Returns the names of the images in a batch of `train_batches`, for messages."""
    index_at, names = _engine().train_order(len(source.train), seed), source.train.names
    return [names[index_at(position)] for position in range(step * batch_size, (step + 1) * batch_size)]


@known_arguments
def test_batches(source: DetectionSource, *, batch_size: int, size: int) -> keras.utils.PyDataset:
    """Returns batches that contain every test image of a task exactly once, always in the same order.

    Args:
        source: the task.
        batch_size: images per batch, 1 or more. The last batch may be smaller.
        size: side in pixels of the images in the batch, 2 or more.

    Returns:
        A `keras.utils.PyDataset` with a length and elements (images, places): images as in `train_batches`, not
        augmented; {"index": int64 [N], of the image in `source.test`, and so of its id in `ids` there; "content": int32
        [N, 2], rows and columns of the batch's image that hold it; "size": int32 [N, 2], its original height and width;
        "scale": float32 [N, 2], content / size}. `to_original` needs them.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check_sizes(batch_size=batch_size, size=size)
    split: Annotated = source.test

    def make(number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        image, _ = split.read(number)
        prepared, content = test_image(image, size=size)
        original = np.array(image.shape[:2], np.int32)
        places = {"index": np.int64(number), "content": content, "size": original}
        return prepared, {**places, "scale": (content / original).astype(np.float32)}

    return _engine().Batches(make, len(split), batch_size)


def to_original(places: dict[str, np.ndarray], boxes: np.ndarray) -> np.ndarray:
    """Returns boxes in pixels of the original images, clipped to them.

    Args:
        places: of a batch of `test_batches`, of N images.
        boxes: [N, D, 4], [top, left, bottom, right] in pixels of the batch's images.

    Returns:
        float64 [N, D, 4].
    """
    each = zip(np.asarray(boxes), np.asarray(places["content"]), np.asarray(places["size"]), strict=True)
    return np.stack([to_image(corners, content, size) for corners, content, size in each])


def _engine() -> types.ModuleType:
    """Returns the loader of grain, an optional package, which is imported only when there are batches to make."""
    require("batches of images with boxes", "grain")
    from bit_keras.data.loaders import grain_data

    return grain_data


def _check_sizes(batch_size: int, size: int) -> None:
    check_integer("batch_size", batch_size)
    check_integer("size", size, minimum=2)
