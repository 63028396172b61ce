"""Classifiers from any weights: a BiT, or a SavedModel, which runs as it is."""

import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from bit_keras import checkpoints
from bit_keras.checkpoints import CheckpointError, names
from bit_keras.checkpoints.readers.hub_module import check_variables, is_saved_model
from bit_keras.checkpoints.remote.addresses import is_url
from bit_keras.network.folding import Folded, folded
from bit_keras.network.model import BiT
from bit_keras.system.optional import require
from bit_keras.zoo.presets import PRESETS


class SavedModelClassifier:
    """A SavedModel directory as a classifier for `predict`.

    A SavedModel is a program: run only those of known origin.

    Args:
        path: a directory written by `export_saved_model`, or another one whose object takes float32 images
            [N, H, W, 3] in [0, 1] and `training`, and returns logits [N, K].

    Attributes:
        output_shape: (None, K), as in a Keras model.

    Raises:
        ImportError: TensorFlow is not installed.
        CheckpointError: the directory cannot be loaded, or its object has a different signature.
    """

    def __init__(self, path: Path):
        require("a SavedModel", "tensorflow")
        import tensorflow as tf

        check_variables(path)
        try:
            self._run = _function(tf.saved_model.load(os.fspath(path)))
            shape = self.predict_on_batch(np.zeros((1, 64, 64, 3), np.float32)).shape
        except Exception as error:  # TensorFlow raises any type for a damaged graph
            raise CheckpointError(
                f"{path} must be a SavedModel that is called with images and training=, or whose signature "
                f"serving_default returns logits: {error}"
            ) from error
        if len(shape) != 2:
            raise CheckpointError(f"{path} must return logits [N, K], got shape {list(shape)} for one image")
        self.output_shape = (None, shape[-1])

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Returns logits [N, K] for float32 images [N, H, W, 3] in [-1, 1]."""
        return np.asarray(self._run((images + 1) / 2))  # SavedModels take [0, 1]


def _function(loaded) -> Callable:
    """Returns a function from images in [0, 1] to logits: a call, or for kind="serving" a signature."""
    signature = getattr(loaded, "signatures", {}).get("serving_default")
    if callable(loaded) or signature is None or "logits" not in signature.structured_outputs:
        return lambda images: loaded(images, training=False)
    return lambda images: signature(**dict.fromkeys(signature.structured_input_signature[1], images))["logits"]


def local_weights(model: str | os.PathLike) -> str | os.PathLike:
    """Returns the weight file in a folder, and the local copy of an address; any other model as it is.

    Raises:
        FileNotFoundError, ValueError, ConnectionError, ImportError, CheckpointError: as `bit_keras.checkpoints.locate`.
    """
    name = os.fspath(model)
    if name in PRESETS or not (is_url(name) or Path(name).is_dir()):
        return model
    return checkpoints.locate(model)[0]


def open_classifier(
    model: str | os.PathLike, variant: str | None = None, precision: str = "float32"
) -> keras.Model | SavedModelClassifier:
    """Opens a classifier; the result has `output_shape` and `predict_on_batch`.

    A BiT is folded: its kernels are standardized once instead of in every batch.

    Args:
        model: name of published weights, path or address of any format, as in `BiT.from_preset`; a SavedModel
            directory is run itself.
        variant: architecture that a weight file must have; None infers it from the shapes.
        precision: dtype policy of the BiT.

    Raises:
        ValueError: as `BiT.from_preset`, or `variant` or `precision` for a SavedModel, which has its own.
        FileNotFoundError, ConnectionError, ImportError, CheckpointError: as `BiT.from_preset`.
    """
    path, known_variant = checkpoints.locate(model, variant)
    if not is_saved_model(path):
        return folded(BiT.from_preset(path, variant=known_variant, dtype=precision))
    if variant is not None or precision != "float32":
        raise ValueError(
            "a SavedModel runs as it was written, without variant and in its own precision; got "
            f"variant={variant!r}, precision={precision!r} for {path}"
        )
    return SavedModelClassifier(path)


def with_features(network: keras.Model | SavedModelClassifier) -> Folded:
    """Returns a network with two outputs, the logits [N, K] and the pooled features [N, D] of a BiT.

    Args:
        network: a BiT, folded or not, whose layers are shared.

    Raises:
        ValueError: it is another network.
    """
    head = next((layer for layer in getattr(network, "layers", ()) if layer.name == names.HEAD), None)
    if not isinstance(network, BiT | Folded) or head is None:
        raise ValueError(
            "features are the pooled outputs of a BiT's backbone: model must be weights of a BiT, not a SavedModel or "
            "another network"
        )
    return Folded(network.input, [network.output, head.input], name=network.name)
