"""Reusable SavedModels: the writer, and the outputs that its SavedModels are compared with.

Source: https://www.tensorflow.org/hub/reusable_saved_models. TensorFlow is imported in functions: other backends
compute the expected outputs without it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from bit_keras.checkpoints import names
from bit_keras.network import execution
from bit_keras.network.model import Backbone


def write(model: keras.Model, path: Path, assets: Mapping[str, Path] | None = None, endpoints: bool = False) -> None:
    """Writes the SavedModel that `bit_keras.export_saved_model` describes.

    Args:
        model: one input [N, H, W, 3] in [-1, 1], one output [N, K].
        path: directory to create.
        assets: {attribute of the SavedModel: file that becomes its asset}; None for none.
        endpoints: whether the SavedModel also has `endpoints(inputs, training=False)`: {"root_block", "block1", ...,
            "block4": [N, H / stride, W / stride, C], "features": [N, F]} and, for a BiT, "logits": [N, K], all float32;
            only for a BiT or its backbone.
    """
    import tensorflow as tf

    output, compute = _network(model, endpoints)
    images_spec = tf.TensorSpec([None, None, None, 3], name="inputs")

    @tf.function(autograph=False)
    def call(inputs, training=False):
        return compute(2.0 * inputs - 1.0, training)[output]

    @tf.function(autograph=False)
    def all_endpoints(inputs, training=False):
        return compute(2.0 * inputs - 1.0, training)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="images")], autograph=False)
    def serve(images):
        # By the specification of `call`: for another one it would be traced once more.
        return {output: call.get_concrete_function(images_spec, training=False)(images)}

    for function in (call, all_endpoints) if endpoints else (call,):
        for training in (False, True):
            function.get_concrete_function(images_spec, training=training)
    # Not a tf.Module, whose `variables` would not be saved, and without the Keras model: it would store them all twice.
    root = tf.train.Checkpoint()
    root.__call__ = call
    if endpoints:
        root.endpoints = all_endpoints
    root.variables = [variable.value for variable in model.variables]
    root.trainable_variables = [variable.value for variable in model.trainable_variables]
    head = model.layers[-1]
    if getattr(head, "lora_enabled", False):  # without it the kernel cannot be merged when the variables are read
        scale = head.lora_alpha / head.lora_rank
        root.lora_scale = tf.Variable(scale, trainable=False, dtype="float32", name=f"{head.name}/{names.LORA[-1]}")
    root.regularization_losses = [_regularization_loss(variable) for variable in _regularized(model)]
    for name, file in (assets or {}).items():
        setattr(root, name, tf.saved_model.Asset(str(file)))
    tf.saved_model.save(root, str(path), signatures={"serving_default": serve})


@execution.portable()
def expected(model: keras.Model, batches: Sequence[np.ndarray], endpoints: bool = False) -> dict[str, np.ndarray]:
    """Returns the arrays that `check.py` documents and compares with, for batches of images in [0, 1]."""
    output, compute = _network(model, endpoints)
    arrays = {
        "variables": np.array(len(model.variables)),
        "trainable_variables": np.array(len(model.trainable_variables)),
        "regularization_loss": np.array(sum(float(each.regularizer(each)) for each in _regularized(model))),
        "output": np.array(output),
        "endpoints": np.array(endpoints),
    }
    run = _runner(compute)
    # Calls in training mode change seeds and moving averages. Copied, because an array may share a variable's memory.
    state = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in model.non_trainable_variables]
    try:
        for k, images in enumerate(batches):
            arrays[f"{k}/images"] = images
            for training in (False, True):
                outputs = run(2 * images - 1, training)
                arrays |= {f"{k}/{training}/{name}": keras.ops.convert_to_numpy(each) for name, each in outputs.items()}
    finally:
        for variable, value in state:
            variable.assign(value)
    return arrays


def _runner(compute: Callable) -> Callable:
    """Returns `compute` placed on the CPU, where the check runs: a GPU may round convolutions to fewer bits."""

    def run(images, training):
        with keras.device("cpu:0"):
            return compute(images, training)

    if keras.backend.backend() != "tensorflow":
        return run
    import tensorflow as tf

    # As a graph, like the SavedModel. Eager mode computes the division by a square root differently, which changes the
    # outputs of R152x2 by 1e-4 of their scale.
    graph = tf.function(run, autograph=False)
    for training in (False, True):
        graph.get_concrete_function(tf.TensorSpec([None, None, None, 3]), training)  # one trace for all sizes
    return graph


def _network(model: keras.Model, endpoints: bool) -> tuple[str, Callable]:
    """Returns (name of the model's output, function of (images [N, H, W, 3] in [-1, 1], training)).

    The function returns {name: float32 tensor}: this output and, with `endpoints`, the stages before it.
    """
    output = "features" if isinstance(model, Backbone) else "logits"
    run = _stages(model) if endpoints else model

    def compute(images, training: bool) -> dict:
        outputs = run(images, training=training)
        if not endpoints:
            (outputs,) = keras.tree.flatten(outputs)  # some models return a list of one output
            outputs = {output: outputs}
        return {name: keras.ops.cast(each, "float32") for name, each in outputs.items()}

    return output, compute


def _stages(model: keras.Model) -> Callable:
    """Returns a function that runs a BiT or its backbone and returns all endpoints, {name: tensor in its own dtype}."""
    backbone = model if isinstance(model, Backbone) else model.backbone
    stages = keras.Model(backbone.input, {**backbone.pyramid_outputs, "features": backbone.output})
    if model is backbone:
        return stages
    head = model.get_layer(names.HEAD)

    def run(images, training: bool) -> dict:
        outputs = stages(images, training=training)
        return {**outputs, "logits": head(outputs["features"])}

    return run


def _regularized(model: keras.Model) -> list[keras.Variable]:
    return [variable for variable in model.trainable_variables if variable.regularizer]


def _regularization_loss(variable: keras.Variable):
    """Returns the loss of a variable as a tf.function without arguments, not even default ones."""
    import tensorflow as tf

    return tf.function(lambda: variable.regularizer(variable), input_signature=[], autograph=False)
