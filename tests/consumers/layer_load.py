"""Loads a .keras file with an embedded SavedModel: python layer_load.py MODEL.keras DATA.npz; prints JSON.

DATA.npz contains "images" and the expected "outputs".
"""

import gc
import json
import sys
from pathlib import Path

import keras
import numpy as np

import bit_keras.saved_models.layer


def load(model_file: str, data_file: str) -> dict:
    model = keras.saving.load_model(model_file, safe_mode=False)
    (layer,) = (each for each in model.layers if isinstance(each, bit_keras.saved_models.layer.SavedModelLayer))
    with np.load(data_file) as archive:
        difference = np.abs(model.predict(archive["images"], verbose=0) - archive["outputs"]).max()
    facts = {
        "difference": float(difference),
        "trainable_weights": len(model.trainable_weights),
        "losses": len(model.losses),
        "class_names": len(Path(layer.handle, "assets", "class_names.txt").read_text().splitlines()),
    }
    folder = Path(layer.handle)
    del model, layer
    gc.collect()
    return {**facts, "folder_left": folder.exists()}


if __name__ == "__main__":
    print(json.dumps(load(*sys.argv[1:])))
