"""Weight files: file -> dict of arrays under official names -> strict apply to a model, and back."""

from bit_keras.checkpoints.apply import CheckpointError, apply_weights, collect_weights
from bit_keras.checkpoints.download import fetch
from bit_keras.checkpoints.npz import read_npz, write_npz

__all__ = ["CheckpointError", "apply_weights", "collect_weights", "fetch", "read_npz", "write_npz"]
