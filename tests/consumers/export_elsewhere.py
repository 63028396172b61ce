"""Exports R17x0.5 on the backend that KERAS_BACKEND names: python export_elsewhere.py WEIGHTS.npz SAVED_MODEL."""

import sys

import bit_keras
from bit_keras import saved_model


def export(weights: str, path: str) -> None:
    model = bit_keras.BiT("R17x0.5", 10)
    bit_keras.load_weights(model, weights)
    model.backbone.trainable = False
    saved_model._CHECK_SIZES = ((2, 64, 64),)  # one will do: JAX compiles every layer anew for each
    saved_model.export_saved_model(model, path, class_names=[f"class {k}" for k in range(10)])


if __name__ == "__main__":
    export(*sys.argv[1:])
