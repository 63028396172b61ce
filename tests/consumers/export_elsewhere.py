"""Exports R17x0.5 on the backend that KERAS_BACKEND names.

    python export_elsewhere.py WEIGHTS.npz FOLDER

It writes FOLDER/reusable and FOLDER/serving in one process, because JAX would recompile every layer in another. It also
checks them in this process: each one that imports TensorFlow takes seconds.
"""

import contextlib
import io
import sys
from pathlib import Path

import bit_keras
from bit_keras.saved_models import check, writer
from bit_keras.system.processes import run_python


def check_here(fault: str, program: Path | str, *arguments) -> str:
    """`run_python`, which checks in this process and writes in another as usual."""
    if program != Path(check.__file__):
        return run_python(fault, program, *arguments)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        faults = check.check(*map(str, arguments))
    if faults:
        raise RuntimeError(f"{fault}:\n{faults}")
    return output.getvalue()


def export_both(weights: str, folder: str) -> None:
    model = bit_keras.BiT("R17x0.5", 10)
    bit_keras.load_weights(model, weights)
    model.backbone.trainable = False
    writer.run_python = check_here
    writer._CHECK_SIZES = ((1, 64, 64),)  # one is enough, and each shape takes a compilation
    names = [f"class {k}" for k in range(10)]
    for kind, options in (("reusable", {}), ("serving", {"resolution": 64})):
        bit_keras.export_saved_model(model, Path(folder, kind), kind, class_names=names, **options)


if __name__ == "__main__":
    export_both(*sys.argv[1:])
