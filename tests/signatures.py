"""Signatures of SavedModels as functions of arrays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def load(path: Path) -> dict[str, Callable[..., dict[str, np.ndarray]]]:
    """Returns the signatures as functions from an array to a dict of arrays."""
    import tensorflow as tf  # not at the top: tests that import this are collected on every backend

    loaded = tf.saved_model.load(path)

    def callable_of(signature):
        ((argument, spec),) = signature.structured_input_signature[1].items()

        def call(value):
            outputs = signature(**{argument: tf.constant(value, spec.dtype)})
            return {name: tensor.numpy() for name, tensor in outputs.items()}

        call.loaded = loaded  # keeps the variables alive
        return call

    return {name: callable_of(signature) for name, signature in loaded.signatures.items()}
