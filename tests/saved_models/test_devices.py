"""The operations of SavedModels and of prediction: which of them GPUs, or XLA, which compiles for TPUs, do not run.

Those of training are in tests/rules/test_jit_compile.py, and those of the part for TPUs in test_tpu.py.
"""

import keras
import pytest
import tensorflow as tf
from tensorflow.core.framework.types_pb2 import DT_STRING

import bit_keras
from bit_keras.network import execution
from bit_keras.saved_models import reusable, serving
from tests import kernels

# {function: {operation without a kernel: why it stays on the CPU}}. All of them are of strings.
NAMES = {"GatherV2": "looks up the names of classes", "Identity": "returns them"}
MESSAGE = {"Const": "the message of an error"}
ON_THE_CPU = {
    "prediction": {},
    "prediction of the folded network": {},
    "reusable, training=False": {},
    "reusable, training=True": {},
    "reusable, a training step of its user": {},
    "reusable, endpoints": {},
    "serving_default": {**NAMES, **MESSAGE},
    "features": MESSAGE,
    "serve_bytes": {
        **NAMES,
        **MESSAGE,
        "Size": "counts the files of a request",
        "Shape": "the number of names",
        "Fill": "empty names of invalid files",
        "TensorScatterUpdate": "puts names into the rows of valid files",
        "Equal": "a file is valid if its error is empty",
    },
}
CONVOLUTIONS = 5  # of the network


@pytest.fixture(scope="module")
def functions(tiny, tiny_npz, tmp_path_factory) -> dict:
    """Graphs of the functions, those of SavedModels after loading."""
    model, folder = bit_keras.BiT.from_preset(tiny_npz), tmp_path_factory.mktemp("devices")
    options = serving.ServingOptions(10, resolution=32)
    with execution.portable():
        reusable.write(model, folder / "reusable", endpoints=True)
        serving.write(model, folder / "serving", options, class_names=[f"digit {k}" for k in range(10)])
    loaded, served = (tf.saved_model.load(str(folder / kind)) for kind in ("reusable", "serving"))
    inference = bit_keras.folded(model)

    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = keras.losses.categorical_crossentropy(labels, loaded(images, training=True), from_logits=True)
        return tape.gradient(loss, loaded.trainable_variables)

    images = tf.TensorSpec((None, None, None, 3))
    calls = {
        "prediction": model.predict_step,
        "prediction of the folded network": inference.predict_step,
        "reusable, training=False": lambda images: loaded(images, training=False),
        "reusable, training=True": lambda images: loaded(images, training=True),
        "reusable, endpoints": loaded.endpoints,
    }
    concrete = {name: tf.function(call).get_concrete_function(images) for name, call in calls.items()}
    concrete["reusable, a training step of its user"] = tf.function(step).get_concrete_function(
        images, tf.TensorSpec((None, 10))
    )
    return {name: function.graph.as_graph_def() for name, function in {**concrete, **served.signatures}.items()}


@pytest.mark.parametrize("name", ON_THE_CPU)
def test_what_stays_on_the_cpu(functions, name):
    nodes = list(kernels.reached(functions[name], skip=kernels.is_on_host))
    assert [node.op for node in nodes].count("Conv2D") == CONVOLUTIONS
    assert set().union(*(kernels.missing(nodes, device) for device in kernels.DEVICES)) == set(ON_THE_CPU[name])
    without_strings = [node for node in nodes if not any(v.type == DT_STRING for v in node.attr.values())]
    for device in kernels.DEVICES:
        assert kernels.missing(without_strings, device) == set()


def test_image_files_are_decoded_on_the_cpu_and_nothing_else_is_placed_there(functions):
    for name, graph in functions.items():
        elsewhere = {node.name for node in kernels.reached(graph, skip=kernels.is_on_host)}
        placed = {node.op for node in kernels.reached(graph) if node.name not in elsewhere}
        assert not placed & {"Conv2D", "MatMul"}
        assert ("DecodeImage" in placed) == (name == "serve_bytes")
        assert bool(placed) == (name == "serve_bytes")


@pytest.mark.parametrize(
    ("call", "xla", "cuda"),
    [
        # What MixUp used until a GPU refused it.
        (lambda x: keras.random.beta((2,), x, x, seed=1), {"StatelessRandomGammaV3"}, set()),
        (lambda x: tf.numpy_function(abs, [x], tf.float32), {"PyFunc"}, {"PyFunc"}),
        (lambda x: tf.gather(tf.cast([x], tf.float32), 0), set(), set()),
        (lambda x: tf.gather(tf.strings.as_string([x]), 0), {"AsString", "GatherV2"}, {"AsString", "GatherV2"}),
    ],
)
def test_missing_kernels_are_found(call, xla, cuda):
    graph = tf.function(call).get_concrete_function(tf.TensorSpec(())).graph.as_graph_def()
    nodes = [node for node in kernels.reached(graph) if node.op != "Identity"]
    assert (kernels.missing(nodes, "XLA"), kernels.missing(nodes, "CUDA")) == (xla, cuda)
