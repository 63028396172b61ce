"""Reusable SavedModels: what hub.KerasLayer, hub.load and tf.saved_model.load take, to fine-tune or to serve.

TensorFlow is imported where it is needed: the library works without it until something is exported.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from bit_keras import files
from bit_keras.model import Backbone

KINDS = ("reusable",)

# [N, H, W] of the images on which the written SavedModel must agree with the model.
_CHECK_SIZES = ((2, 64, 64), (1, 96, 80))


def export_saved_model(
    model: keras.Model, path: str | os.PathLike, kind: str = "reusable", class_names: Sequence[str] | None = None
) -> Path:
    """Writes `model` as a TensorFlow SavedModel that was loaded and compared in a fresh process, or writes nothing.

    What is written takes float32 images [N, H, W, 3] in **[0, 1]**, any N, H and W, and rescales them to the
    model's [-1, 1]. The loaded object has:

    - `__call__(inputs, training=False)`: float32 outputs [N, K].
    - `variables`, `trainable_variables`, `regularization_losses`: as on the model, for fine-tuning.
    - `signatures["serving_default"]`: "images" to "logits", or to "features" for `model.backbone`.
    - `class_names.asset_path`, when given: a text file, one name a line; `assets/class_names.txt` in the directory.

    On the jax and torch backends a process on the tensorflow backend does the writing.

    Args:
        model: a BiT, its backbone, or another built model of one input [N, H, W, 3], any H and W, and one output
            [N, K]. It is left as it was.
        path: local directory to make, which must not exist.
        kind: "reusable".
        class_names: the K names of the outputs, in their order; None writes no file.

    Returns:
        `path`.

    Raises:
        ValueError: unknown `kind`, or a model or class names that are not as said above.
        FileExistsError: there is something at `path`.
        ImportError: TensorFlow is not installed.
        RuntimeError: the SavedModel could not be written, or does not give the model's numbers.

    Example:
        >>> bit_keras.export_saved_model(model, "exported", class_names=["cat", "dog"])
        >>> layer = hub.KerasLayer("exported", trainable=True)
    """
    path = Path(path)
    _check_arguments(model, path, kind, class_names)
    with files.whole(path) as written:
        names_file, expected = (written.with_name(name) for name in ("class_names.txt", "expected.npz"))
        if class_names is not None:
            names_file.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        write = _write if keras.backend.backend() == "tensorflow" else _write_in_fresh_process
        write(model, written, names_file)
        np.savez(expected, **_expected(model))
        # The file and not the module: the check needs TensorFlow, and nothing of the library.
        program = Path(__file__).with_name("saved_model_check.py")
        _run_python("the SavedModel is not as the model", program, written, expected, _tolerance(model))
    return path


def _check_arguments(model: keras.Model, path: Path, kind: str, class_names: Sequence[str] | None) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if os.path.lexists(path):
        raise FileExistsError(f"a SavedModel goes to a path where nothing is, got {path}")
    # Only built functional and sequential models have shapes; the others get None and are refused.
    input_shape, output_shape = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if input_shape != (None, None, None, 3):
        raise ValueError(f"the model must take one input [None, None, None, 3], got {input_shape}")
    if not isinstance(output_shape, tuple) or len(output_shape) != 2:
        raise ValueError(f"the model must have one output [None, K], got {output_shape}")
    if class_names is not None:
        if len(class_names) != output_shape[-1]:
            raise ValueError(
                f"class_names must hold a name for each output, got {len(class_names)} names for "
                f"{output_shape[-1]} outputs"
            )
        faults = [name for name in class_names if name.splitlines() != [name]]
        if faults:
            raise ValueError(f"a class name must be one line that is not empty, got {faults}")
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError("a SavedModel is written by TensorFlow, which is not installed: pip install tensorflow")


def _outputs(model: keras.Model, images, training: bool):
    """Returns float32 outputs [N, K] for float32 images [N, H, W, 3] in [0, 1]: what is exported."""
    (outputs,) = keras.tree.flatten(model(2.0 * images - 1.0, training=training))
    return keras.ops.cast(outputs, "float32")


def _write(model: keras.Model, path: Path, names_file: Path) -> None:
    """Writes the SavedModel, with the class names if `names_file` exists."""
    import tensorflow as tf

    @tf.function
    def call(inputs, training=False):
        return _outputs(model, inputs, training)

    for training in (False, True):
        call.get_concrete_function(tf.TensorSpec([None, None, None, 3]), training=training)
    output_name = "features" if isinstance(model, Backbone) else "logits"

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="images")])
    def serve(images):
        return {output_name: call(images, training=False)}

    # Not a tf.Module, whose `variables` would be lost, and without the Keras model: it would store all of them twice.
    root = tf.train.Checkpoint()
    root.__call__ = call
    root.variables = [variable.value for variable in model.variables]
    root.trainable_variables = [variable.value for variable in model.trainable_variables]
    root.regularization_losses = [
        _regularization_loss(variable) for variable in model.trainable_variables if variable.regularizer
    ]
    if names_file.exists():
        root.class_names = tf.saved_model.Asset(str(names_file))
    tf.saved_model.save(root, str(path), signatures={"serving_default": serve})


def _regularization_loss(variable: keras.Variable):
    """Returns the loss of one variable as a tf.function without arguments; a default argument would be one."""
    import tensorflow as tf

    return tf.function(lambda: variable.regularizer(variable), input_signature=[], autograph=False)


def _write_in_fresh_process(model: keras.Model, path: Path, names_file: Path) -> None:
    """As `_write`, on any backend."""
    source = path.with_name("model.keras")
    model.save(source)
    _run_python("the SavedModel could not be written", "-m", "bit_keras.saved_model", source, path, names_file)


def _main(source: str, path: str, names_file: str) -> None:
    _write(keras.models.load_model(source, compile=False), Path(path), Path(names_file))


def _expected(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns what the check compares with, under the names that it documents."""
    regularized = [variable for variable in model.trainable_variables if variable.regularizer]
    expected = {
        "trainable_variables": np.array(len(model.trainable_variables)),
        "regularization_loss": np.array(sum(float(variable.regularizer(variable)) for variable in regularized)),
    }

    def outputs(images, training):
        with keras.device("cpu:0"):  # where the check runs: a GPU rounds convolutions to fewer bits
            return _outputs(model, images, training)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # As a graph, like the SavedModel: eager mode rounds differently, by 1e-4 of the outputs of R152x2.
        outputs = tf.function(outputs)
        for training in (False, True):
            outputs.get_concrete_function(tf.TensorSpec([None, None, None, 3]), training)  # one trace for all sizes
    random = np.random.default_rng(0)
    # Calls in training mode move seeds and running means. The copy is needed where arrays share a variable's memory.
    state = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in model.non_trainable_variables]
    try:
        for k, size in enumerate(_CHECK_SIZES):
            images = random.uniform(size=(*size, 3)).astype(np.float32)
            expected[f"{k}/images"] = images
            for name, training in (("inference", False), ("training", True)):
                expected[f"{k}/{name}"] = keras.ops.convert_to_numpy(outputs(images, training))
    finally:
        for variable, value in state:
            variable.assign(value)
    return expected


def _tolerance(model: keras.Model) -> float:
    """Largest difference allowed between the SavedModel's outputs and the model's, relative to their scale."""
    if keras.backend.backend() == "tensorflow":
        return 1e-5
    # Another backend rounds differently, and random weights amplify it with depth: 1.3e-4 was seen with R152x2,
    # and 0.08 with R50x1 in bfloat16. There the check finds a wrong network, not a wrong digit.
    is_half_precision = any(layer.compute_dtype in ("bfloat16", "float16") for layer in (model, *model.layers))
    return 0.5 if is_half_precision else 1e-3


def _run_python(fault: str, *arguments) -> None:
    """Runs Python on TensorFlow without a GPU; raises RuntimeError with `fault` and all that it said if it fails."""
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(sys.path),  # finds what this process found, installed or not
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    # -P: neither the folder of a program nor the current one may hide a module.
    command = [sys.executable, "-P", *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{fault} (exit status {result.returncode}):\n{result.stderr}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
