"""Weight files: from a file to a dict of arrays under official keys, from there to a model, and back."""

from bit_keras.checkpoints.apply import apply_weights, assign, collect, collect_weights, named_variables, shapes_of
from bit_keras.checkpoints.architecture import detector_sizes, head_size, resolve_variant
from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.formats import read_weights
from bit_keras.checkpoints.location import locate
from bit_keras.checkpoints.readers.npz import read_npz, write_npz
from bit_keras.checkpoints.readers.torch_state import write_safetensors
from bit_keras.checkpoints.remote.download import fetch

__all__ = [
    "CheckpointError",
    "apply_weights",
    "assign",
    "collect",
    "collect_weights",
    "detector_sizes",
    "fetch",
    "head_size",
    "locate",
    "named_variables",
    "read_npz",
    "read_weights",
    "resolve_variant",
    "shapes_of",
    "write_npz",
    "write_safetensors",
]
