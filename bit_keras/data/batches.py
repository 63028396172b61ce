"""Batches for training and evaluation, from tf.data or grain."""

from collections.abc import Iterable

from bit_keras.data.examples import Examples
from bit_keras.data.source import Source
from bit_keras.system.checks import check_choice, check_integer, known_arguments
from bit_keras.system.optional import is_installed, require
from bit_keras.zoo.fits import FITS

LOADERS = ("tf.data", "grain")
KEEP_BYTES = 2**30  # most bytes of images to cache: 1,700 photographs of 500x375 pixels


def choose_loader(loader: str | None = None) -> str:
    """Returns the name of the library that loads the batches.

    Both libraries load the same test batches, and the same training batches apart from random draws: the order of the
    examples, crops and flips differ. tf.data reads every source and needs TensorFlow. grain reads all sources except
    streams of TensorFlow Datasets, decodes with Pillow and computes with NumPy.

    Args:
        loader: "tf.data", "grain", or None for tf.data if TensorFlow is installed and else grain.

    Raises:
        ImportError: the library is not installed.
        ValueError: `loader` has another value.

    Example:
        >>> bit_keras.data.choose_loader()
        'tf.data'
    """
    if uses_tensorflow(loader):
        return "tf.data"
    require("loading images without TensorFlow", "grain")
    return "grain"


def uses_tensorflow(loader: str | None = None) -> bool:
    """Tells whether TensorFlow decodes the images, else Pillow. As `choose_loader`, but needs no grain."""
    check_choice("loader", loader, (None, *LOADERS))
    if loader == "tf.data":
        require("the loader tf.data", "tensorflow")
    return loader == "tf.data" or (loader is None and is_installed("tensorflow"))


@known_arguments
def train_batches(
    source: Source,
    *,
    batch_size: int,
    resize: int,
    crop: int,
    seed: int,
    start_step: int = 0,
    shard: tuple[int, int] = (0, 1),
    random_crop: bool = True,
    flip: bool = True,
    min_area: float | None = None,
    fit: str = "squash",
    keep: bool = True,
    loader: str | None = None,
) -> Iterable:
    """Returns the endless training batches of a task; batch k is a pure function of loader, `seed` and k.

    Args:
        source: the task.
        batch_size: images per batch over all shards, 1 or more.
        resize: side in pixels to which an image is resized before the random crop, not less than `crop`.
        crop: side in pixels of the images in the batch, 1 or more.
        seed: of the order of the examples and of the augmentation.
        start_step: index k of the first batch, 0 or more. Batches are bit-identical to those of a start at 0.
        shard: (index, count): each batch contains only the images whose position in the full batch, modulo count, is
            index; they are bit-identical to those in the full batch. `count` must divide `batch_size`.
        random_crop: False resizes directly to `crop`, as for a source where a crop would change the label.
        flip: True mirrors half of the images, but not of a source where that would change the label.
        min_area: for the inception crops of pre-training, the least fraction of an image's area, in (0, 1]; `resize`
            and `random_crop` are not used then. None for the crops of the HyperRule.
        fit: how an image becomes a square: "squash", resized whatever its aspect ratio, as in the paper; "pad", its
            longer side resized and the rest filled with 0, mid grey; "crop", its central square resized; "inner", 15/16
            of that. Inception crops are always squashed.
        keep: True caches decoded images in memory for later passes if all of them need
            1 GiB or less, together with their files. With `min_area` tf.data does not cache, because it decodes
            only the crop. Under `tf.config.experimental.enable_op_determinism` caching is slower than decoding.
        loader: see `choose_loader`.

    Returns:
        A `tf.data.Dataset` or a `keras.utils.PyDataset` for Keras's `fit`, with elements (images, labels): float32
        [batch_size / count, crop, crop, 3] in [-1, 1]; float32 [batch_size / count, classes], one-hot, or multi-hot for
        a source with `multi_label`. For a label out of range the former raises tf.errors.InvalidArgumentError when it
        is read; the latter raises DataError at once.

    Raises:
        DataError: the loader cannot read the source, or it is for evaluation only.
        ImportError: the loader is not installed.
        ValueError: an argument is out of its range.

    Example:
        >>> source = bit_keras.data.load("digits")
        >>> batches = bit_keras.data.train_batches(source, batch_size=8, resize=40, crop=32, seed=0)
        >>> images, labels = next(iter(batches))
        >>> images.shape, labels.shape
        (TensorShape([8, 32, 32, 3]), TensorShape([8, 10]))
    """
    source.check_trainable()
    _check_positive(batch_size=batch_size, crop=crop)
    if random_crop and resize < crop:
        raise ValueError(f"resize must not be less than crop, got {resize} and {crop}")
    check_choice("fit", fit, tuple(FITS))
    if min_area is not None and not 0 < min_area <= 1:
        raise ValueError(f"min_area must lie in (0, 1], got {min_area}")
    if start_step < 0:
        raise ValueError(f"start_step must be 0 or more, got {start_step}")
    check_integer("seed", seed, minimum=0)
    index, count = shard
    if not 0 <= index < count or batch_size % count:
        raise ValueError(
            f"shard must be (index, count) with 0 <= index < count, and count divide batch_size {batch_size}; "
            f"got {shard}"
        )
    return _engine(loader).train_batches(
        source,
        batch_size=batch_size,
        resize=resize,
        crop=crop,
        seed=seed,
        start_step=start_step,
        shard=shard,
        random_crop=random_crop and source.random_crop,
        flip=flip and source.flip,
        min_area=min_area,
        fit=fit,
        keep=keep and source.train.fits_in(KEEP_BYTES),
    )


@known_arguments
def test_batches(
    source: Source,
    *,
    batch_size: int,
    crop: int,
    fit: str = "squash",  # noqa: PT028
    keep: bool = False,  # noqa: PT028
    loader: str | None = None,  # noqa: PT028
) -> Iterable:
    """Returns batches that contain every test example of a task exactly once, always in the same order.

    Args:
        source: the task.
        batch_size: images per batch, 1 or more. The last batch may be smaller.
        crop: side in pixels to which the images are resized, 1 or more.
        fit: as in `train_batches`.
        keep: as in `train_batches`, for test examples that are read several times.
        loader: see `choose_loader`.

    Returns:
        Finitely many (images, labels) as in `train_batches`.

    Raises:
        DataError: the loader cannot read the source.
        ImportError: the loader is not installed.
        ValueError: an argument is out of its range.

    Example:
        >>> source = bit_keras.data.load("digits")
        >>> sum(len(labels) for images, labels in bit_keras.data.test_batches(source, batch_size=100, crop=32))
        360
    """
    _check_positive(batch_size=batch_size, crop=crop)
    check_choice("fit", fit, tuple(FITS))
    return _engine(loader).test_batches(
        source, batch_size=batch_size, crop=crop, fit=fit, keep=keep and source.test.fits_in(KEEP_BYTES)
    )


@known_arguments
def train_names(source: Source, *, batch_size: int, seed: int, step: int, loader: str | None = None) -> list[str]:
    """Returns names of the images in a batch of `train_batches`.

    Args:
        source, batch_size, seed, loader: as in `train_batches`.
        step: index of the batch, 0 or more.

    Returns:
        For each image its file, or "training image" and its index; [] for TFRecord files and TensorFlow Datasets.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> source = bit_keras.data.load("birds", verbose=False)
        >>> names = bit_keras.data.train_names(source, batch_size=4, seed=0, step=0)
        >>> len(names), names[0].endswith(".jpg")
        (4, True)
    """
    _check_positive(batch_size=batch_size)
    for name, value in {"seed": seed, "step": step}.items():
        check_integer(name, value, minimum=0)
    split, start = source.train, step * batch_size
    if not isinstance(split, Examples):
        return []
    indices = _engine(loader).train_indices(split, seed, start, batch_size)
    return [str(split.images[index]) if split.in_files else f"training image {index}" for index in indices]


@known_arguments
def test_names(source: Source) -> list[str]:
    """Returns the file of each image in `test_batches`, in their order; [] for data that are not in files of images.

    Args:
        source: the task.

    Example:
        >>> source = bit_keras.data.load("birds", verbose=False)
        >>> len(bit_keras.data.test_names(source)) == source.num_test
        True
    """
    split = source.test
    return [str(path) for path in split.images] if isinstance(split, Examples) and split.in_files else []


def _engine(loader: str | None):
    if choose_loader(loader) == "tf.data":
        from bit_keras.data.loaders import tf_data as engine
    else:
        from bit_keras.data.loaders import grain_data as engine
    return engine


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        check_integer(name, value)
