"""The batches of trainings from random weights."""

import functools
from collections.abc import Callable, Iterable

from bit_keras import data


def inception_batches(config, source: data.Source) -> tuple[Callable[..., Iterable], Iterable]:
    """Returns training batches of inception crops, as `fit` takes them, and the test batches.

    Args:
        config: a `RunConfig` with `resolution` and `min_area`.
        source: the data.
    """
    train = functools.partial(
        data.train_batches,
        source,
        batch_size=config.part,
        resize=config.resolution,
        crop=config.resolution,
        seed=config.seed,
        flip=config.flip,
        min_area=config.min_area,
        loader=config.loader,
    )
    return train, data.test_batches(source, batch_size=config.part, crop=config.resolution, loader=config.loader)
