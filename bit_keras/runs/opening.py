"""The beginning of a run: random numbers, devices, data."""

import dataclasses
import json
import os
import zlib
from pathlib import Path

import keras

from bit_keras import data, training
from bit_keras.checkpoints import provenance
from bit_keras.distribution import DISTRIBUTIONS, Distribution, check_batch, start_distribution
from bit_keras.runs.config import RunConfig
from bit_keras.runs.workdir import claim, join
from bit_keras.system.checks import check_name_or_path, check_names
from bit_keras.system.files import write_lines
from bit_keras.system.logs import doing, logger


def start(config: RunConfig) -> Distribution:
    """Seeds all random numbers and starts the devices, before anything else is computed.

    Raises:
        ValueError: the devices cannot share a batch, or the settings of their engine are faulty.
        DistributionError: the engine cannot be started.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        training.make_deterministic()
    if config.loader == "grain" and DISTRIBUTIONS[config.distribute] == "tensorflow":
        raise ValueError(f"distribute={config.distribute!r} needs the loader tf.data, got grain")
    distribution = start_distribution(config.distribute)
    check_batch(config.distribute, distribution.num_devices, config.batch_size, config.accumulate)
    if distribution.num_devices > 1:
        logger.info("%d devices", distribution.num_devices)
    return distribution


def make_config(kind: type[RunConfig], model, dataset: str | os.PathLike | data.Source, workdir, options: dict):
    """Returns the configuration of a run, with the loader that it takes.

    Raises:
        TypeError: there is no such option, or an argument is of another type.
        ValueError: a setting is out of its range.
    """
    check_names(
        kind.__name__.removesuffix("Config").lower(), options, [field.name for field in dataclasses.fields(kind)]
    )
    model = check_name_or_path(
        "model", model, "a preset, a variant, or a path or an address of weights, which bit_keras.save_npz writes"
    )
    sources = "a name, a path, or a source such as bit_keras.data.from_arrays(images, labels)"
    name = dataset.name if isinstance(dataset, data.Source) else check_name_or_path("dataset", dataset, sources)
    workdir = check_name_or_path("workdir", workdir, "a path")
    config = kind(model=model, dataset=name, workdir=workdir, **options)
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


def check_identity(identity: dict, distribution: Distribution) -> None:
    """Raises DistributionError unless all workers have the same settings and data."""
    fingerprint = zlib.crc32(json.dumps(identity, sort_keys=True).encode()) >> 1  # fits into int32
    distribution.check_equal(fingerprint, "have the same settings and data")


def open_folder(config: RunConfig, source: data.Source, crop: int, identity: dict, distribution: Distribution) -> Path:
    """Returns the folder of a run, which the chief has claimed for it; see `workdir`.

    Args:
        config: of the run.
        source: its data.
        crop: side of its images in pixels.
        identity: what decides its numbers.
        distribution: which devices train.
    """

    def make() -> Path:
        folder = claim(config.workdir, identity)
        provenance.write_task(folder, crop, source.class_names)
        return folder

    return distribution.in_turn(make, lambda: join(config.workdir, identity))
