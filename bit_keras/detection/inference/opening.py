"""Opens a trained detector, and refuses weights of anything else."""

import os

from bit_keras import checkpoints
from bit_keras.checkpoints import CheckpointError, provenance
from bit_keras.detection.network.detector import TASK, Detector
from bit_keras.inference.classifier import local_weights
from bit_keras.system.logs import doing
from bit_keras.system.paths import expanded


def open_detector(model: str | os.PathLike) -> Detector:
    """Opens a detector with all of its weights; those of a classifier are no detector yet.

    Args:
        model: weight file of a detector or its address, or the folder of its run (best.npz, or else weights.npz).

    Raises:
        FileNotFoundError, ConnectionError, ImportError: as `bit_keras.BiT.from_preset`.
        CheckpointError: as there; or the weights are those of a classifier.
    """
    file = local_weights(expanded(model))
    path, _ = checkpoints.locate(file)
    if provenance.read_card(path).task != TASK and not _holds_detector(path):
        raise CheckpointError(
            f"{model} must hold a detector, got a classifier, which finds no boxes; `python -m bit_keras.detection "
            "train` trains a detector from it"
        )
    with doing(f"loading {file}"):
        return Detector.from_preset(file)


def _holds_detector(path: str | os.PathLike) -> bool:
    shapes = checkpoints.shapes_of(checkpoints.read_weights(path))
    return checkpoints.detector_sizes(path, shapes) is not None
