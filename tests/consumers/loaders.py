"""Loads a reusable SavedModel with hub.load and tf.saved_model.load; prints the results as JSON.

    python loaders.py SAVED_MODEL DATA.npz

DATA.npz holds pairs "images_..." [N, H, W, 3] in [0, 1] and "logits_..." [N, K] that the SavedModel must return.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub


def load(saved_model: str, data_file: str) -> dict:
    with np.load(data_file) as archive:
        data = dict(archive)
    return {
        name: _use(loader(saved_model), data)
        for name, loader in (("hub.load", hub.load), ("tf.saved_model.load", tf.saved_model.load))
    }


def _use(loaded, data: dict[str, np.ndarray]) -> dict:
    differences = {}
    for name, images in data.items():
        if name.startswith("images_"):
            expected = data[name.replace("images_", "logits_")]
            calls = {
                "no flag": loaded(images),
                "training=False": loaded(images, training=False),
                "training=True": loaded(images, training=True),
                "serving_default": loaded.signatures["serving_default"](images=tf.constant(images))["logits"],
            }
            for call, found in calls.items():
                differences[f"{name} {call}"] = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
    return {
        "differences": differences,
        "variables": len(loaded.variables),
        "trainable_variables": len(loaded.trainable_variables),
        "regularization_loss": float(sum(loss() for loss in loaded.regularization_losses)),
        "class_names": Path(loaded.class_names.asset_path.numpy().decode()).read_text().splitlines(),
        "library_imported": "bit_keras" in sys.modules,
    }


if __name__ == "__main__":
    print(json.dumps(load(*sys.argv[1:])))
