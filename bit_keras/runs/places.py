"""Checks of where results go, before work begins: a training must not be lost at its end for want of a place."""

import os
from pathlib import Path

from bit_keras.checkpoints import locate
from bit_keras.checkpoints.provenance import CONFIG
from bit_keras.checkpoints.remote.addresses import is_url
from bit_keras.data import Source
from bit_keras.data.splits import SPLIT_NAMES
from bit_keras.runs.config import TrainingConfig
from bit_keras.system.optional import require
from bit_keras.system.paths import check_folder, check_new, check_outside, expanded
from bit_keras.zoo.evaluation_sets import find_set
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import VARIANTS

_KINDS = ("coco:", "voc:")  # of images with boxes, before their path


def check_places(config: TrainingConfig, dataset: str | os.PathLike | Source) -> None:
    """Checks the places of a run's weights and results.

    Args:
        config: settings of the run.
        dataset: its data, as given by the user.

    Raises:
        FileNotFoundError, ValueError, bit_keras.checkpoints.CheckpointError: the weights do not exist. Those of an
            address are not asked for.
        ValueError: a place is an address, or in the data, or the run would be written into its own export.
        OSError: a place cannot be written, or exists.
        ImportError: the export needs TensorFlow, which is not installed.
    """
    if config.model not in (*PRESETS, *VARIANTS) and not is_url(config.model):
        locate(config.model)
    workdir, export_dir = check_folder("workdir", config.workdir), getattr(config, "export_dir", None)
    if not (workdir / CONFIG).exists():  # runs of earlier versions may be in their data
        check_outside("workdir", workdir, "dataset", folders_of(dataset))
    if export_dir is not None:
        export_dir = check_new("export_dir", export_dir)
        check_outside("workdir", workdir, "export_dir", [export_dir])
        check_outside("export_dir", export_dir, "dataset", folders_of(dataset))
        require("export_dir", "tensorflow")


def folders_of(dataset: str | os.PathLike | Source) -> list[Path]:
    """Returns the folders in which every file belongs to the data: that of the data, or those of their splits."""
    if isinstance(dataset, Source):
        return []
    name = os.fspath(dataset)
    _, path = find_set(name)
    if not path and name.startswith(_KINDS):
        path = name.partition(":")[2]
    if not os.path.isdir(folder := expanded(path or name)):
        return []
    splits = [path for path in Path(folder).iterdir() if path.name.lower() in SPLIT_NAMES and path.is_dir()]
    return splits if len(splits) > 1 else [Path(folder)]
