"""The flags of all programs that name what photos show."""

from absl import flags

from bit_keras.zoo.precisions import PRECISIONS


def define_model_flags() -> None:
    """Defines model, class_names, resolution, precision and loader, arguments of `predictor.Predictor`."""
    flags.DEFINE_string(
        "model",
        None,
        "Folder of a run (its best.npz, or else weights.npz), weight file or address, preset, or SavedModel directory. "
        "A SavedModel is a program, which is run: only for those of known origin.",
        required=True,
    )
    define_class_names()
    flags.DEFINE_integer(
        "resolution",
        None,
        "Side of the images in pixels; if not given, that of the weights, or 224 if they have none.",
        lower_bound=1,
    )
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "Precision of the computation; a SavedModel has its own.")
    flags.DEFINE_string(
        "loader", None, '"tf.data" or "grain": decoders of TensorFlow or of Pillow, as in the evaluation.'
    )


def define_class_names() -> None:
    """Defines class_names, which `predictor.given_names` reads."""
    flags.DEFINE_string(
        "class_names",
        None,
        "Text file with the name of one class per line, in the order of the outputs, or ilsvrc2012 or imagenet21k; if "
        "not given, the names that the weights carry.",
    )
