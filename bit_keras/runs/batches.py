"""The batches of a run."""

import functools
from collections.abc import Callable, Iterable

from bit_keras import data
from bit_keras.runs.config import RunConfig


def make_batches(
    config: RunConfig, source: data.Source, crop: int, **augmentation
) -> tuple[Callable[..., Iterable], Iterable]:
    """Returns the training batches, as `fit` takes them, and the test batches.

    Args:
        config: of the run.
        source: its data.
        crop: side of the images in pixels.
        **augmentation: other arguments of `bit_keras.data.train_batches`.
    """
    keep = not config.deterministic  # TensorFlow looks for kept images one after the other then
    train = functools.partial(
        data.train_batches,
        source,
        batch_size=config.part,
        crop=crop,
        seed=config.seed,
        flip=config.flip,
        keep=keep,
        loader=config.loader,
        **augmentation,
    )
    return train, data.test_batches(source, batch_size=config.part, crop=crop, keep=keep, loader=config.loader)
