"""Writes and checks a SavedModel, on every backend.

As a program it writes one on the tensorflow backend, for a process on another backend:

    python -m bit_keras.saved_models.writer KIND MODEL.keras SAVED_MODEL CLASS_NAMES.txt OPTIONS

OPTIONS is JSON. TensorFlow is imported in functions. The library also imports this module in functions only, because
`python -m` warns of a program that is already imported.
"""

import contextlib
import dataclasses
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from bit_keras.checkpoints.card import KEY
from bit_keras.network import execution
from bit_keras.network.model import Backbone, BiT
from bit_keras.saved_models import reusable
from bit_keras.system.logs import doing, only_from
from bit_keras.system.processes import run_python

# [N, H, W] of the images on which the written SavedModel must agree with the model.
_CHECK_SIZES = ((2, 64, 64), (1, 96, 80))


def write_checked(
    model: keras.Model,
    path: Path,
    kind: str,
    class_names: Sequence[str] | None,
    options: dict,
    destination: Path,
) -> float:
    """Writes a SavedModel and compares it with the model in a fresh process.

    Args:
        model: as for `bit_keras.export_saved_model`, checked by `export.check_arguments`.
        path: directory to create. The caller removes it when this function raises.
        kind: "reusable" or "serving".
        class_names: names of the outputs, None for none.
        options: for "reusable" `endpoints` of `reusable.write`, for "serving" those of `serving.ServingOptions`.
        destination: where the caller will move the directory, for messages.

    Returns:
        The largest difference from the model's outputs, relative to the scale of an output.

    Raises:
        RuntimeError: the SavedModel could not be written, or `check.py` found faults.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        names_file, expected = Path(scratch, "class_names.txt"), Path(scratch, "expected.npz")
        if class_names is not None:
            names_file.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        write = _write if keras.backend.backend() == "tensorflow" else _write_in_fresh_process
        with doing(f"writing SavedModel {destination}"):
            write(kind, model, path, names_file, options)
        with doing("computing what it must return"):
            np.savez(expected, **_EXPECTED[kind](model, names_file, options))
        with doing("comparing it with the model in a fresh process"):
            return _check(kind, path, expected, tolerance(model, kind, options))


def _write(kind: str, model: keras.Model, path: Path, names_file: Path, options: dict) -> None:
    # Without TensorFlow's message about where it writes, which names a temporary directory.
    with _without_remat(model), execution.portable(), only_from(logging.WARNING, "tensorflow"):
        _WRITERS[kind](model, path, names_file, options)


def _write_in_fresh_process(kind: str, model: keras.Model, path: Path, names_file: Path, options: dict) -> None:
    """As `_write`, on any backend."""
    source = names_file.with_name("model.keras")
    model.save(source)
    arguments = (kind, source, path, names_file, json.dumps(options))
    run_python("the SavedModel could not be written", "-m", "bit_keras.saved_models.writer", *arguments)


def _main(kind: str, source: str, path: str, names_file: str, options: str) -> None:
    model = keras.models.load_model(source, compile=False)
    _write(kind, model, Path(path), Path(names_file), json.loads(options))


def _write_reusable(model: keras.Model, path: Path, names_file: Path, options: dict) -> None:
    reusable.write(model, path, _assets(model, names_file), **options)


def _write_serving(model: BiT, path: Path, names_file: Path, options: dict) -> None:
    from bit_keras.saved_models import serving

    names, card = _names(names_file), _assets(model, names_file)["card"]
    serving.write(model, path, serving.ServingOptions(model.num_classes, **options), names, card)


def _expected_of_reusable(model: keras.Model, names_file: Path, options: dict) -> dict[str, np.ndarray]:
    return reusable.expected(model, _check_images(), **options)


def _expected_of_serving(model: BiT, names_file: Path, options: dict) -> dict[str, np.ndarray]:
    from bit_keras.saved_models import serving

    options = serving.ServingOptions(model.num_classes, **options)
    return serving.expected(model, options, _names(names_file), _check_images())


_WRITERS = {"reusable": _write_reusable, "serving": _write_serving}
_EXPECTED = {"reusable": _expected_of_reusable, "serving": _expected_of_serving}


def _names(names_file: Path) -> list[str] | None:
    return names_file.read_text(encoding="utf-8").splitlines() if names_file.exists() else None


def _assets(model: keras.Model, names_file: Path) -> dict[str, Path]:
    """Returns the files that become assets of the SavedModel: the class names, if given, and the card of a BiT."""
    assets = {"class_names": names_file} if names_file.exists() else {}
    if isinstance(model, BiT):
        names = _names(names_file)
        card = dataclasses.replace(model.card, class_names=names and tuple(names))
        assets["card"] = names_file.with_name(f"{KEY}.json")
        assets["card"].write_text(card.to_json(), encoding="utf-8")
    return assets


def _check_images() -> list[np.ndarray]:
    """Returns arrays of images in [0, 1]."""
    random = np.random.default_rng(0)
    return [random.uniform(size=(*size, 3)).astype(np.float32) for size in _CHECK_SIZES]


def _check(kind: str, path: Path, expected: Path, tolerance: float) -> float:
    # By path, not as a module: the check must not import the library.
    program = Path(__file__).with_name("check.py")
    output = run_python("the SavedModel differs from the model", program, kind, path, expected, tolerance)
    return float(output.splitlines()[-1])


def tolerance(model: keras.Model, kind: str, options: dict) -> float:
    """Largest difference allowed between the SavedModel's outputs and the model's, relative to their scale."""
    if options.get("precision") == "bfloat16":
        # Random weights amplify rounding with depth: 0.05 was measured for R50x1. A wrong network differs by about 1.
        return 0.25
    is_half_precision = any(layer.compute_dtype in ("bfloat16", "float16") for layer in (model, *model.layers))
    # A reusable SavedModel computes in the precision of the model, one for serving in that of its options.
    has_own_precision = kind == "serving" and is_half_precision
    if keras.backend.backend() == "tensorflow" and not has_own_precision:
        return 1e-5
    # Other backends round differently: 1.3e-4 was measured for R152x2, and 0.08 for R50x1 in bfloat16. With these
    # tolerances the check finds a wrong network, but not a small error.
    return 0.5 if is_half_precision else 1e-3


@contextlib.contextmanager
def _without_remat(model: keras.Model):
    """Turns rematerialization off: its custom gradients in a SavedModel cause a warning at every load."""
    backbones = [layer for layer in (model, *model.layers) if isinstance(layer, Backbone) and layer.remat]
    for backbone in backbones:
        backbone.remat = False
    try:
        yield
    finally:
        for backbone in backbones:
            backbone.remat = True


if __name__ == "__main__":
    _main(*sys.argv[1:])
