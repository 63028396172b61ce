"""The start of a run: configuration, random seed, devices, data."""

import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import keras

from bit_keras import data, training
from bit_keras.data.content import with_content
from bit_keras.distribution import DISTRIBUTIONS, Distribution, check_batch, start_distribution
from bit_keras.runs.config import LOAD_OPTIONS, RunConfig, TrainingConfig
from bit_keras.runs.places import check_places
from bit_keras.runs.workdir import check_start
from bit_keras.system.checks import check_name_or_path, check_names
from bit_keras.system.files import write_lines
from bit_keras.system.logs import doing, logger
from bit_keras.zoo.evaluation_sets import find_set

# What `dataset` may be, for error messages.
SOURCES = "a name, a path, or a source such as bit_keras.data.from_arrays(images, labels)"


def start(config: TrainingConfig) -> Distribution:
    """Sets the random seeds, starts the devices and checks the workdir; must be called before anything is computed.

    Raises:
        ValueError: the devices cannot divide a batch equally, or the settings of their engine are invalid.
        DistributionError: the engine cannot be started.
        FileExistsError, BlockingIOError: the workdir is in use, or belongs to a run with other settings.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        training.make_deterministic()
    if isinstance(config, RunConfig):
        check_loader(config)
    distribution = start_distribution(config.distribute)
    check_batch(config.distribute, distribution.num_devices, config.batch_size, config.accumulate)
    distribution.in_turn(lambda: check_start(config.workdir, config.settings()))
    if distribution.num_devices > 1:
        logger.info("%d devices", distribution.num_devices)
    return distribution


def check_loader(config: RunConfig) -> None:
    """Raises ValueError if the devices cannot be fed by the loader."""
    if config.loader == "grain" and DISTRIBUTIONS[config.distribute] == "tensorflow":
        raise ValueError(f"distribute={config.distribute!r} needs the loader tf.data, got grain")


def make_config(kind: type[TrainingConfig], model, dataset: str | os.PathLike | data.Source, workdir, options: dict):
    """Returns the configuration of a run, with a loader chosen if none is given, and checks where its results go.

    Raises:
        TypeError: an option does not exist, or an argument has the wrong type.
        ValueError: a setting is out of its range.
        ValueError, OSError, ImportError: as `check_places`.
    """
    check_names(
        kind.__name__.removesuffix("Config").lower(), options, [field.name for field in dataclasses.fields(kind)]
    )
    model = check_name_or_path(
        "model", model, "a preset, a variant, or a path or an address of weights, which bit_keras.save_npz writes"
    )
    name = dataset.name if isinstance(dataset, data.Source) else check_name_or_path("dataset", dataset, SOURCES)
    workdir = check_name_or_path("workdir", workdir, "a path")
    config = kind(model=model, dataset=name, workdir=workdir, **options)
    check_places(config, dataset)
    if isinstance(config, RunConfig):
        config = dataclasses.replace(config, loader=data.choose_loader(config.loader))
    return config


def check_callbacks(callbacks: Iterable[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    """Returns the callbacks as a list; raises TypeError unless all of them are Keras callbacks."""
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of keras.callbacks.Callback; got {callbacks!r}, without a list")
    callbacks = list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            hint = f"; make one: {callback.__name__}(...)" if isinstance(callback, type) else ""
            raise TypeError(f"callbacks must be a list of keras.callbacks.Callback; got {callback!r} in it{hint}")
    return callbacks


def open_source(config: RunConfig, dataset: str | os.PathLike | data.Source) -> data.Source:
    """Returns the data of a run; opens them by name unless `dataset` is already a source.

    Raises:
        DataError: the data are for evaluation only; or as `bit_keras.data.load` and, with `config.validation`,
            `Source.hold_out`. Images that cannot be read are listed in a file next to the workdir.
    """
    source = dataset
    if not isinstance(dataset, data.Source):
        _refuse_evaluation_set(config.dataset)
        options = {name: getattr(config, name) for name in LOAD_OPTIONS}
        source = load_data(config.dataset, unreadable_list(config), **options)
    source.check_trainable()
    return held_out(config, with_content(source))


def unreadable_list(config: TrainingConfig) -> Path:
    """Returns the file that lists the images that cannot be read.

    It is next to the workdir, which must be empty when a run begins.
    """
    return Path(f"{config.workdir.rstrip(os.sep)}.unreadable.txt")


def held_out(config: TrainingConfig, source: data.Source) -> data.Source:
    """Returns data with the validation split that `config.validation` asks for; raises as `Source.hold_out`."""
    if config.validation is None:
        return source
    with doing(f"holding out {config.validation:g} of the training images for validation"):
        return source.hold_out(config.validation)


def _refuse_evaluation_set(name: str) -> None:
    """Raises DataError for an evaluation set, before its images are downloaded or checked."""
    row, path = find_set(name)
    if row is not None and (path or row.name != "imagenet2012"):  # which has training images in TFDS
        raise data.DataError(f"{row.name} must not be used for training: {row.reason}")


def load_data(
    name: str | os.PathLike, listing: Path | None = None, load: Callable[..., data.Source] | None = None, **options
) -> data.Source:
    """Opens data by name; the error for images that cannot be read also states the way out.

    Args:
        name, options: as in `load`.
        listing: file to write, which lists all images that cannot be read; None for none.
        load: function that opens data; None for `bit_keras.data.load`.

    Raises:
        DataError: as `bit_keras.data.load`.
    """
    try:
        with doing(f"opening {name}"):
            return (load or data.load)(name, **options)
    except data.DataError as error:
        if not error.files:
            raise
        # Data with boxes name the way out themselves, also in Python.
        hints = [] if "skip_unreadable" in str(error) else ["--skip_unreadable leaves them out"]
        if listing is not None:
            write_lines(listing, error.files)
            hints.insert(0, f"all of them: {listing}")
        raise data.DataError("\n".join([str(error), *filter(None, ["; ".join(hints)])]), error.files) from error
