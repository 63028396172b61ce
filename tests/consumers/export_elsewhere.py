"""Exports R17x0.5 on the backend that KERAS_BACKEND names.

    python export_elsewhere.py WEIGHTS.npz FOLDER

It writes FOLDER/reusable and FOLDER/serving in one process, because JAX would recompile every layer in another. It also
checks them in this process: each one that imports TensorFlow takes seconds.
"""

import sys
from pathlib import Path

import bit_keras
from bit_keras.saved_models import check, writer


def check_here(kind: str, path: Path, expected: Path, tolerance: float) -> float:
    largest, faults = check.check(kind, str(path), str(expected), tolerance)
    assert not faults, "\n".join(faults)
    return largest


def export_both(weights: str, folder: str) -> None:
    model = bit_keras.BiT("R17x0.5", 10)
    bit_keras.load_weights(model, weights)
    model.backbone.trainable = False
    writer._check = check_here
    writer._CHECK_SIZES = ((1, 64, 64),)  # one is enough, and each shape takes a compilation
    names = [f"class {k}" for k in range(10)]
    for kind, options in (("reusable", {}), ("serving", {"resolution": 64})):
        bit_keras.export_saved_model(model, Path(folder, kind), kind, class_names=names, **options)


if __name__ == "__main__":
    export_both(*sys.argv[1:])
