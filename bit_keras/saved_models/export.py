"""SavedModels of a Keras model, to fine-tune or to serve.

TensorFlow is imported in functions: the library works without it until something is exported.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from bit_keras.checkpoints import provenance
from bit_keras.network.model import BiT
from bit_keras.system import files
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import shows_messages
from bit_keras.system.optional import require
from bit_keras.system.paths import check_place
from bit_keras.system.texts import label

KINDS = ("reusable", "serving")
_SERVING_OPTIONS = ("precision", "resolution", "activation", "top", "max_rows", "max_pixels", "max_scans")
_DETECTOR_OPTIONS = ("score", "iou", "limit", "candidates")
# {class of networks: function that exports them for serving}, of packages above this one.
_EXPORTERS: dict[type, Callable[..., Path]] = {}


def register(network: type, export: Callable[..., Path]) -> None:
    """Makes `export_saved_model` call a function for networks of a class and kind="serving".

    Args:
        network: a class of Keras models.
        export: function of model, path, class names and the options of `export_saved_model`, which returns the path.
    """
    _EXPORTERS[network] = export


@known_arguments((*_SERVING_OPTIONS, *_DETECTOR_OPTIONS))
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
    """Writes `model` as a TensorFlow SavedModel and compares its outputs with the model's in a fresh process.

    If they differ, no SavedModel is left behind. The SavedModel takes float32 images [N, H, W, 3] in **[0, 1]**, any N,
    H and W, and rescales them to the model's [-1, 1].

    kind="reusable" is for hub.KerasLayer, hub.load and tf.saved_model.load. The loaded object has:

    - `__call__(inputs, training=False)`: float32 outputs [N, K].
    - `variables`, `trainable_variables`, `regularization_losses`: as on the model, for fine-tuning.
    - `signatures["serving_default"]`: "images" to "logits", or to "features" for `model.backbone`.
    - `card.asset_path`, for a BiT: the card in JSON, `assets/bit_keras_card.json` (`bit_keras.checkpoints.card`).
    - `class_names.asset_path`, where the names are known: a text file, one name per line,
      `assets/class_names.txt`.

    kind="serving" is for TF Serving: the network with weight standardization folded into its kernels
    (`bit_keras.network.folding`), for inference only. Its signatures:

    - `serving_default`: "images" to "scores" [N, top] and "classes" [N, top], strings, both in order of falling score,
      and to "logits" [N, K]. Without class names the strings are class indices.
    - `serve_bytes`: "image_bytes", strings [N], each a JPEG, PNG, GIF or BMP file, to the same and to "valid" [N],
      booleans, and "error" [N], strings. Decoded, turned upright (EXIF) and made square (`model.card.resize`) as in
      evaluation. An invalid file has False in "valid", the reason in "error", zeros for numbers and "" for classes; the
      other rows are not affected.
    - `features`: "images" to "features" [N, C].

    kind="serving" for a `bit_keras.detection.Detector` has other signatures and options:
    `bit_keras.detection.export.export_detector`.

    On the jax and torch backends the SavedModel is written by a process on the tensorflow backend.

    Args:
        model: a BiT, its backbone, or another built model with one input [N, H, W, 3], any H and W, and one output
            [N, K]; for "serving" a BiT or a detector. It is not changed.
        path: local directory to create, which must not exist.
        kind: "reusable" or "serving".
        class_names: the K names of the outputs, in their order; None for those of a BiT's card, `model.class_names`, if
            it has any.
        verbose: False shows no progress.
        **options: for "serving" only; of a BiT: precision, resolution, activation, top, and the limits of a request
            max_rows, max_pixels and max_scans; see `bit_keras.saved_models.serving.ServingOptions`. The default
            resolution is that of the weights, `model.resolution`, or 224 pixels if that is None.

    Returns:
        `path`.

    Raises:
        ValueError: `kind` is unknown, or the model, the class names or an option is not as described above.
        TypeError: an option is unknown.
        FileExistsError: `path` exists.
        ImportError: TensorFlow is not installed.
        RuntimeError: the SavedModel could not be written, its outputs differ from the model's, it stores a variable
            twice, or, if reusable, no gradient reaches one of its trainable variables.

    Example:
        >>> model = bit_keras.BiT.from_preset("BiT-mini-R17x0.5", num_classes=2)
        >>> bit_keras.export_saved_model(model, "exported", class_names=["cat", "dog"], verbose=False)
        PosixPath('exported')
    """
    # Not at the top: `python -m` warns of a program that is already imported.
    from bit_keras.saved_models.writer import write_checked

    path = check_place("path", path)
    for network, export in _EXPORTERS.items():
        if isinstance(model, network):
            if kind != "serving":
                raise ValueError(f'kind must be "serving" for a {network.__name__}, got {kind!r}')
            return export(model, path, class_names, verbose=verbose, **options)
    class_names = check_arguments(model, path, kind, class_names, options)
    if kind == "serving":
        options["resolution"] = provenance.serving_resolution(model, options.get("resolution"))
    with files.whole(path) as written:
        write_checked(model, written, kind, class_names, options, destination=path)
    return path


def check_arguments(
    model: keras.Model, path: Path, kind: str, class_names: Sequence[str] | None, options: dict
) -> Sequence[str] | None:
    """Raises what `export_saved_model` raises before it writes anything; returns the class names to write."""
    if class_names is None:
        class_names = names_of(model)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if options and kind != "serving":
        raise ValueError(f'only kind="serving" has options, got {", ".join(options)} for kind={kind!r}')
    if os.path.lexists(path):
        raise FileExistsError(f"a SavedModel is written to a path that does not exist yet, got {path}")
    # Only built functional and sequential models have shapes; others get None and are rejected.
    input_shape, output_shape = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if input_shape != (None, None, None, 3):
        raise ValueError(f"the model must take one input [None, None, None, 3], got {input_shape}")
    if not isinstance(output_shape, tuple) or len(output_shape) != 2:
        raise ValueError(f"the model must have one output [None, K], got {output_shape}")
    if kind == "serving" and not isinstance(model, BiT):
        raise ValueError(f'kind="serving" takes a bit_keras.BiT, got {type(model).__name__}')
    if class_names is not None:
        check_class_names(class_names, output_shape[-1])
    require("a SavedModel", "tensorflow")
    if kind == "serving":
        from bit_keras.saved_models.serving import ServingOptions

        given = {name: value for name, value in options.items() if name != "resolution" or value is not None}
        ServingOptions(model.num_classes, **given)  # raises
    return class_names


def names_of(model: keras.Model) -> list[str] | None:
    """Returns the class names of the card of a network, one line each, as text files need; None if it has none."""
    names = getattr(model, "class_names", None)
    return names and [label(name) for name in names]


def check_class_names(class_names: Sequence[str], num_outputs: int) -> None:
    """Raises ValueError unless there is a name, of one line, for each output."""
    if len(class_names) != num_outputs:
        raise ValueError(
            f"class_names must contain a name for each output, got {len(class_names)} names for {num_outputs} outputs"
        )
    faults = [name for name in class_names if name.splitlines() != [name]]
    if faults:
        raise ValueError(f"a class name must be one line that is not empty, got {faults}")
