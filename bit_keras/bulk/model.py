"""The model of a job: what is known about it before a network is built, and its files, for other machines."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bit_keras import checkpoints
from bit_keras.checkpoints import provenance
from bit_keras.checkpoints.folders import CONFIG
from bit_keras.checkpoints.readers import shards
from bit_keras.checkpoints.readers.hub_module import is_saved_model
from bit_keras.inference.image_reader import ImageReader
from bit_keras.inference.predictor import Predictor, choose_names
from bit_keras.system import locks
from bit_keras.system.files import whole
from bit_keras.system.paths import cache_folder
from bit_keras.zoo.presets import PRESETS


@dataclasses.dataclass(frozen=True)
class Settings:
    """What determines the rows of a job, besides the weights and the images.

    Attributes:
        what: one of `WHAT`.
        top: classes per image.
        class_names: names of the outputs; None for those that the weights carry.
        resolution: side of the images in pixels.
        fit: how they become squares, one of `bit_keras.zoo.fits.FITS`.
        precision, loader: as in `Predictor`.
    """

    what: str
    top: int
    class_names: tuple[str, ...] | None
    resolution: int
    fit: str
    precision: str
    loader: str | None

    def reader(self) -> ImageReader:
        return ImageReader(self.resolution, self.fit, self.loader)

    def predictor(self, model: Path, batch_size: int) -> Predictor:
        return Predictor(
            model,
            top=self.top,
            class_names=self.class_names,
            resolution=self.resolution,
            precision=self.precision,
            batch_size=batch_size,
            loader=self.loader,
            features=self.what != "predictions",
        )


WHAT = ("predictions", "features", "both")


def choose_settings(
    model: str | os.PathLike, *, what: str, top: int, class_names, resolution: int | None, precision: str, loader
) -> tuple[Path, Settings]:
    """Returns the local weight file of a model, and the settings of a job with it; builds no network.

    Building it would take the memory of a GPU that a worker on this machine needs.

    Args:
        model: as in `Predictor`, but no object.
        what: one of `WHAT`.
        top, class_names, resolution, precision, loader: as in `Predictor`.

    Raises:
        ValueError, FileNotFoundError, ConnectionError, ImportError, bit_keras.checkpoints.CheckpointError: as
            `Predictor`.
    """
    path, variant = checkpoints.locate(model)
    known = os.fspath(model) if os.fspath(model) in PRESETS else path
    card = provenance.read_card(known)
    unknown = provenance.UNKNOWN_RESOLUTION, "the training resolution of the weights is not known"
    resolution, _ = provenance.choose_resolution(known, resolution, unknown)
    if not is_saved_model(path):
        shapes = checkpoints.shapes_of(checkpoints.read_weights(path))
        checkpoints.resolve_variant(path, shapes, variant)
        num_classes = checkpoints.head_size(path, shapes)
        class_names = choose_names(class_names, card.of_head(num_classes, path), num_classes)
    elif what != "predictions" or precision != "float32":
        raise ValueError(
            "a SavedModel gives predictions, in its own precision; features need the weights of a BiT; got "
            f"what={what}, precision={precision} for {path}"
        )
    settings = Settings(what, top, class_names, resolution, card.resize, precision, loader)
    settings.reader()
    return path, settings


class Files(NamedTuple):
    """The files of a model.

    Attributes:
        fingerprint: of the weights.
        name: of the weight file, or of the folder of a SavedModel.
        contents: {path below the folder of the weight file: uint8 [bytes]}.
    """

    fingerprint: str
    name: str
    contents: dict[str, np.ndarray]


def packed(model: Path) -> Files:
    """Reads the files of a model, and of the records of its run, which tell about weights without a card."""
    files = [file for file in model.rglob("*") if file.is_file()] if model.is_dir() else [model]
    if model.name.endswith(shards.ENDING):
        files += shards.shard_files(model)
    if (run := provenance.run_folder(model)) is not None:
        files += [run / name for name in (CONFIG, provenance.TASK) if (run / name).exists()]
    contents = {file.relative_to(model.parent).as_posix(): np.fromfile(file, np.uint8) for file in files}
    return Files(provenance.fingerprint(model), model.name, contents)


def unpacked(files: Files) -> Path:
    """Returns the path of a model in the cache folder of this machine, where the first process writes it."""
    folder = cache_folder() / "bulk" / files.fingerprint
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locks.in_turn(folder.with_name(f"{files.fingerprint}.lock")):
        if not folder.exists():
            with whole(folder) as temporary:
                for name, content in files.contents.items():
                    path = temporary / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    content.tofile(path)
    return folder / files.name
