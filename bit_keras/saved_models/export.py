"""Reusable SavedModels: what hub.KerasLayer, hub.load and tf.saved_model.load take, to fine-tune or to serve.

TensorFlow is imported where it is needed: the library works without it until something is exported.
"""

import contextlib
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from bit_keras.checkpoints import provenance
from bit_keras.network import execution
from bit_keras.network.model import Backbone, BiT
from bit_keras.system import files
from bit_keras.system.checks import check_names
from bit_keras.system.logs import doing, shows_messages
from bit_keras.system.processes import run_python

KINDS = ("reusable", "serving")
_ARGUMENTS = ("model", "path", "kind", "class_names", "verbose")
_SERVING_OPTIONS = ("precision", "resolution", "activation", "top", "max_pixels")

# [N, H, W] of the images on which the written SavedModel must agree with the model.
_CHECK_SIZES = ((2, 64, 64), (1, 96, 80))


@shows_messages
def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    kind: str = "reusable",
    class_names: Sequence[str] | None = None,
    *,
    verbose: bool = True,
    **options,
) -> Path:
    """Writes `model` as a TensorFlow SavedModel that was loaded and compared in a fresh process, or writes nothing.

    What is written takes float32 images [N, H, W, 3] in **[0, 1]**, any N, H and W, and rescales them to the
    model's [-1, 1].

    kind="reusable" is for hub.KerasLayer, hub.load and tf.saved_model.load. The loaded object has:

    - `__call__(inputs, training=False)`: float32 outputs [N, K].
    - `variables`, `trainable_variables`, `regularization_losses`: as on the model, for fine-tuning.
    - `signatures["serving_default"]`: "images" to "logits", or to "features" for `model.backbone`.
    - `class_names.asset_path`, when given: a text file, one name a line; `assets/class_names.txt` in the directory.

    kind="serving" is for TF Serving: the network with weight standardization folded into its kernels
    (`bit_keras.network.folding`), not to be trained. Its signatures:

    - `serving_default`: "images" to "scores" [N, top] and "classes" [N, top], strings, both from the best on, and to
      "logits" [N, K]. A class without a name is its number.
    - `serve_bytes`: "image_bytes", strings [N], each a JPEG or PNG file, to the same and to "valid" [N], booleans, and
      "error" [N], strings. Decoded and resized as in evaluation, which does not turn by EXIF. A bad file has valid
      False, the reason in "error", zeros for numbers and "" for classes; it does not touch the other rows.
    - `features`: "images" to "features" [N, C].

    On the jax and torch backends a process on the tensorflow backend does the writing.

    Args:
        model: a BiT, its backbone, or another built model of one input [N, H, W, 3], any H and W, and one output
            [N, K]; for "serving" a BiT. It is left as it was.
        path: local directory to make, which must not exist.
        kind: "reusable" or "serving".
        class_names: the K names of the outputs, in their order; None for none.
        verbose: False shows no progress.
        **options: for "serving" alone: precision, resolution, activation, top and max_pixels; see
            `bit_keras.saved_models.serving.ServingOptions`. Without a resolution images are served at that of the
            weights, `model.resolution`, or at 224 pixels where that is None.

    Returns:
        `path`.

    Raises:
        ValueError: unknown `kind`, or a model, class names or options that are not as said above.
        TypeError: there is no such option.
        FileExistsError: there is something at `path`.
        ImportError: TensorFlow is not installed.
        RuntimeError: the SavedModel could not be written, or does not give the model's numbers.

    Example:
        >>> bit_keras.export_saved_model(model, "exported", class_names=["cat", "dog"])
        >>> layer = hub.KerasLayer("exported", trainable=True)
    """
    path = Path(path)
    _check_arguments(model, path, kind, class_names, options)
    with files.whole(path) as written:
        if kind == "serving":
            options["resolution"] = provenance.serving_resolution(model, options.get("resolution"))
        names_file, expected = (written.with_name(name) for name in ("class_names.txt", "expected.npz"))
        if class_names is not None:
            names_file.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        write = _write if keras.backend.backend() == "tensorflow" else _write_in_fresh_process
        with doing(f"writing SavedModel {path}"):
            write(kind, model, written, names_file, options)
        with doing("computing what it must return"):
            np.savez(expected, **_EXPECTED[kind](model, names_file, options))
        # The file and not the module: the check needs TensorFlow, and nothing of the library.
        program = Path(__file__).with_name("check.py")
        tolerance = _tolerance(model, kind, options)
        with doing("comparing it with the model in a fresh process"):
            run_python("the SavedModel is not as the model", program, kind, written, expected, tolerance)
    return path


def _check_arguments(
    model: keras.Model, path: Path, kind: str, class_names: Sequence[str] | None, options: dict
) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    check_names("export_saved_model", options, (*_ARGUMENTS, *_SERVING_OPTIONS))
    if options and kind != "serving":
        raise ValueError(f'only kind="serving" has options, got {", ".join(options)} for kind={kind!r}')
    if os.path.lexists(path):
        raise FileExistsError(f"a SavedModel goes to a path where nothing is, got {path}")
    # Only built functional and sequential models have shapes; the others get None and are refused.
    input_shape, output_shape = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if input_shape != (None, None, None, 3):
        raise ValueError(f"the model must take one input [None, None, None, 3], got {input_shape}")
    if not isinstance(output_shape, tuple) or len(output_shape) != 2:
        raise ValueError(f"the model must have one output [None, K], got {output_shape}")
    if kind == "serving" and not isinstance(model, BiT):
        raise ValueError(f'kind="serving" takes a bit_keras.BiT, got {type(model).__name__}')
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
    if kind == "serving":
        _serving_options(model, options)


def _serving_options(model: BiT, options: dict):
    from bit_keras.saved_models.serving import ServingOptions

    given = {name: value for name, value in options.items() if name != "resolution" or value is not None}
    return ServingOptions(model.num_classes, **given)


def _names(names_file: Path) -> list[str] | None:
    return names_file.read_text(encoding="utf-8").splitlines() if names_file.exists() else None


def _outputs(model: keras.Model, images, training: bool):
    """Returns float32 outputs [N, K] for float32 images [N, H, W, 3] in [-1, 1]."""
    (outputs,) = keras.tree.flatten(model(images, training=training))
    return keras.ops.cast(outputs, "float32")


def _write_serving(model: BiT, path: Path, names_file: Path, options: dict) -> None:
    from bit_keras.saved_models import serving

    serving.write(model, path, _serving_options(model, options), _names(names_file))


def _write_reusable(model: keras.Model, path: Path, names_file: Path, options: dict) -> None:
    """Writes the SavedModel, with the class names if `names_file` exists."""
    import tensorflow as tf

    @tf.function
    def call(inputs, training=False):
        return _outputs(model, 2.0 * inputs - 1.0, training)

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


@contextlib.contextmanager
def _without_remat(model: keras.Model):
    """Each load of a SavedModel would warn of the custom gradients that rematerialization leaves in it."""
    backbones = [layer for layer in (model, *model.layers) if isinstance(layer, Backbone) and layer.remat]
    for backbone in backbones:
        backbone.remat = False
    try:
        yield
    finally:
        for backbone in backbones:
            backbone.remat = True


@contextlib.contextmanager
def _without_remarks():
    """TensorFlow would say where it writes, which is a temporary name."""
    tensorflow = logging.getLogger("tensorflow")
    level = tensorflow.level
    tensorflow.setLevel(logging.WARNING)
    try:
        yield
    finally:
        tensorflow.setLevel(level)


def _regularization_loss(variable: keras.Variable):
    """Returns the loss of one variable as a tf.function without arguments; a default argument would be one."""
    import tensorflow as tf

    return tf.function(lambda: variable.regularizer(variable), input_signature=[], autograph=False)


def _write(kind: str, model: keras.Model, path: Path, names_file: Path, options: dict) -> None:
    with _without_remat(model), execution.portable(), _without_remarks():
        _WRITERS[kind](model, path, names_file, options)


def _write_in_fresh_process(kind: str, model: keras.Model, path: Path, names_file: Path, options: dict) -> None:
    """As `_write`, on any backend."""
    source = path.with_name("model.keras")
    model.save(source)
    arguments = (kind, source, path, names_file, json.dumps(options))
    run_python("the SavedModel could not be written", "-m", "bit_keras.saved_models.export", *arguments)


def _main(kind: str, source: str, path: str, names_file: str, options: str) -> None:
    model = keras.models.load_model(source, compile=False)
    _write(kind, model, Path(path), Path(names_file), json.loads(options))


def _check_images() -> list[np.ndarray]:
    """Returns arrays of images in [0, 1]."""
    random = np.random.default_rng(0)
    return [random.uniform(size=(*size, 3)).astype(np.float32) for size in _CHECK_SIZES]


@execution.portable()
def _expected_of_reusable(model: keras.Model, names_file: Path, options: dict) -> dict[str, np.ndarray]:
    """Returns what the check compares with, under the names that it documents."""
    regularized = [variable for variable in model.trainable_variables if variable.regularizer]
    expected = {
        "trainable_variables": np.array(len(model.trainable_variables)),
        "regularization_loss": np.array(sum(float(variable.regularizer(variable)) for variable in regularized)),
    }

    def call(images, training):
        with keras.device("cpu:0"):  # where the check runs: a GPU rounds convolutions to fewer bits
            return _outputs(model, images, training)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # As a graph, like the SavedModel, which divides by a square root in another way than eager mode: 1e-4 of the
        # outputs of R152x2.
        call = tf.function(call)
        for training in (False, True):
            call.get_concrete_function(tf.TensorSpec([None, None, None, 3]), training)  # one trace for all sizes
    # Calls in training mode move seeds and running means. The copy is needed where arrays share a variable's memory.
    state = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in model.non_trainable_variables]
    try:
        for k, images in enumerate(_check_images()):
            expected[f"{k}/images"] = images
            for name, training in (("inference", False), ("training", True)):
                expected[f"{k}/{name}"] = keras.ops.convert_to_numpy(call(2 * images - 1, training))
    finally:
        for variable, value in state:
            variable.assign(value)
    return expected


def _expected_of_serving(model: BiT, names_file: Path, options: dict) -> dict[str, np.ndarray]:
    """As `_expected_of_reusable`."""
    from bit_keras.saved_models import serving

    return serving.expected(model, _serving_options(model, options), _names(names_file), _check_images())


_WRITERS = {"reusable": _write_reusable, "serving": _write_serving}
_EXPECTED = {"reusable": _expected_of_reusable, "serving": _expected_of_serving}


def _tolerance(model: keras.Model, kind: str, options: dict) -> float:
    """Largest difference allowed between the SavedModel's outputs and the model's, relative to their scale."""
    is_half_precision = any(layer.compute_dtype in ("bfloat16", "float16") for layer in (model, *model.layers))
    # A reusable SavedModel computes as the model does, one for serving in its own precision.
    has_own_precision = kind == "serving" and (is_half_precision or options.get("precision") == "bfloat16")
    if keras.backend.backend() == "tensorflow" and not has_own_precision:
        return 1e-5
    # Another backend rounds differently, and random weights amplify it with depth: 1.3e-4 was seen with R152x2,
    # and 0.08 with R50x1 in bfloat16. There the check finds a wrong network, not a wrong digit.
    return 0.5 if is_half_precision or has_own_precision else 1e-3


if __name__ == "__main__":
    _main(*sys.argv[1:])
