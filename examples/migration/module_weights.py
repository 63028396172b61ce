"""From a module of TF Hub, or any SavedModel of a BiT, to Keras layers: any backend, no TensorFlow graph."""

import os

import bit_keras


def as_keras_layers(handle: str | os.PathLike, num_classes: int | None = None) -> bit_keras.BiT:
    """Reads the variables of the SavedModel; the head is new and zero with `num_classes`, else that of the module."""
    return bit_keras.BiT.from_preset(handle, num_classes=num_classes)
