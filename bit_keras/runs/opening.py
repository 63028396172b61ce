"""The beginning of a run: random numbers, devices, data."""

import dataclasses
import json
import os
import zlib
from pathlib import Path

import keras

from bit_keras import data, training
from bit_keras.files import write_lines
from bit_keras.logs import doing, logger
from bit_keras.runs.config import RunConfig
from bit_keras.runs.workdir import claim, join


def start(config: RunConfig) -> training.Distribution:
    """Seeds all random numbers and starts the devices, before anything else is computed.

    Raises:
        ValueError: the devices cannot share a batch, or the settings of their engine are faulty.
        DistributionError: the engine cannot be started.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        training.make_deterministic()
    if config.loader == "grain" and training.DISTRIBUTIONS[config.distribute] == "tensorflow":
        raise ValueError(f"distribute={config.distribute!r} needs the loader tf.data, got grain")
    distribution = training.start_distribution(config.distribute)
    training.check_batch(config.distribute, distribution.num_devices, config.batch_size, config.accumulate)
    if distribution.num_devices > 1:
        logger.info("%d devices", distribution.num_devices)
    return distribution


def make_config(kind: type[RunConfig], model, dataset: str | os.PathLike | data.Source, workdir, options: dict):
    """Returns the configuration of a run, with the loader that it takes."""
    name = dataset.name if isinstance(dataset, data.Source) else os.fspath(dataset)
    config = kind(model=os.fspath(model), dataset=name, workdir=os.fspath(workdir), **options)
    return dataclasses.replace(config, loader=data.choose_loader(config.loader))


def open_source(config: RunConfig, dataset: str | os.PathLike | data.Source) -> data.Source:
    """Returns the data of a run, opened by their name where `dataset` is no source.

    Raises:
        DataError: as `bit_keras.data.load`; images that cannot be read are listed in a file beside the workdir.
    """
    if isinstance(dataset, data.Source):
        return dataset
    try:
        with doing(f"opening {config.dataset}"):
            return data.load(
                config.dataset,
                data_dir=config.data_dir,
                manual_dir=config.manual_dir,
                skip_unreadable=config.skip_unreadable,
            )
    except data.DataError as error:
        if error.files:
            listing = Path(f"{config.workdir.rstrip(os.sep)}.unreadable.txt")  # the workdir itself is that of a run
            write_lines(listing, error.files)
            raise data.DataError(f"{error}\nall of them: {listing}; --skip_unreadable leaves them out") from error
        raise


def log_plan(config: RunConfig, source: data.Source, schedule, crop: int, mixup_alpha: float = 0) -> None:
    """Logs what a run trains on and how: data, schedule, batch, resolution, MixUp, loader."""
    logger.info(
        "%s: %s training and %s test examples of %s classes",
        *(source.name, f"{source.num_train:,}", f"{source.num_test:,}", f"{source.num_classes:,}"),
    )
    mixup = f"MixUp {mixup_alpha:g}" if mixup_alpha else "no MixUp"
    logger.info("%s", schedule)
    logger.info("batches of %d images at %d pixels, %s, loaded by %s", config.batch_size, crop, mixup, config.loader)


def check_identity(identity: dict, distribution: training.Distribution) -> None:
    """Raises DistributionError unless all workers have the same settings and data."""
    fingerprint = zlib.crc32(json.dumps(identity, sort_keys=True).encode()) >> 1  # fits into int32
    distribution.check_equal(fingerprint, "have the same settings and data")


def open_folder(config: RunConfig, identity: dict, distribution: training.Distribution) -> Path:
    """Returns the folder of a run, which the chief has claimed for it; see `workdir`."""
    return distribution.in_turn(lambda: claim(config.workdir, identity), lambda: join(config.workdir, identity))
