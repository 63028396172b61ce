"""Networks that are dropped are collected, with all that training has made for them."""

import gc
import weakref

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.distill import Distiller
from bit_keras.network import execution
from bit_keras.rules import MixUp

pytestmark = pytest.mark.usefixtures("tiny")
BACKEND = keras.backend.backend()
tensorflow_only = pytest.mark.skipif(BACKEND != "tensorflow", reason="the table of gradients is TensorFlow's")

IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype("float32")
LABELS = np.eye(3, dtype="float32")[[0, 1, 2, 0]]


def compiled(network: keras.Model, accumulate: int | None = None) -> keras.Model:
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=accumulate), loss)
    return network


def registered() -> set[str]:
    """Names of the gradients that TensorFlow has registered."""
    from tensorflow.python.framework.ops import gradient_registry

    return set(gradient_registry.list())


def graphs() -> int:
    """Number of TensorFlow's graphs, without those of programs that all networks share."""
    from tensorflow.python.framework.func_graph import FuncGraph

    # By type: isinstance asks each object, and some of them warn.
    found = [each for each in gc.get_objects() if issubclass(type(each), FuncGraph)]
    return sum("step" in graph.name for graph in found)


def collect() -> None:
    for _ in range(2):  # what holds the graphs of another model is found once its network is collected
        gc.collect()


def references_to(*models) -> list[weakref.ref]:
    """Weak references to models, or optimizers, with their layers and variables."""
    layers = [layer for model in models for layer in getattr(model, "layers", ())]
    return [weakref.ref(each) for each in (*models, *layers, *(v for model in models for v in model.variables))]


def existing(references: list[weakref.ref]) -> list:
    return [reference() for reference in references if reference() is not None]


@pytest.mark.any_backend
def test_a_network_is_collected_after_use():
    model = compiled(bit_keras.BiT("tiny", 3))
    model.fit(IMAGES, LABELS, batch_size=2, epochs=2, verbose=0)
    model.evaluate(IMAGES, LABELS, verbose=0)
    model.predict(IMAGES, verbose=0)
    references = references_to(model, model.backbone, model.optimizer)
    del model
    collect()
    assert existing(references) == []


@pytest.mark.any_backend
def test_a_folded_network_is_collected_after_use():
    model = bit_keras.BiT("tiny", 3)
    network = bit_keras.folded(model)
    network.predict(IMAGES, verbose=0)
    network.predict_on_batch(IMAGES)
    network(IMAGES)
    references = references_to(model, network)
    del model, network
    collect()
    assert existing(references) == []


@pytest.mark.any_backend
def test_a_student_and_its_teacher_are_collected_after_use():
    distiller = compiled(Distiller(bit_keras.BiT("tiny", 3), bit_keras.BiT("tiny", 3)))
    distiller.fit(IMAGES, LABELS, batch_size=2, callbacks=[MixUp(0.1)], verbose=0)
    references = references_to(distiller, distiller.student, distiller.teacher, distiller.optimizer)
    del distiller
    collect()
    assert existing(references) == []


@tensorflow_only
@pytest.mark.parametrize("options", [{}, {"remat": True}, {"dtype": "mixed_float16"}, {"accumulate": 2}], ids=str)
def test_the_gradients_of_a_fit_are_forgotten_with_the_network(options):
    collect()
    before, graphs_before = registered(), graphs()
    model = compiled(bit_keras.BiT("tiny", 3, **_network(options)), options.get("accumulate"))
    model.fit(IMAGES, LABELS, batch_size=2, verbose=0)
    assert len(registered() - before) >= 10
    del model
    gc.collect()
    assert registered() == before
    assert graphs() == graphs_before


def _network(options: dict) -> dict:
    return {name: value for name, value in options.items() if name != "accumulate"}


@tensorflow_only
def test_other_models_and_loops_are_forgotten_too():
    import tensorflow as tf

    def train() -> None:
        features = bit_keras.BiT("tiny", 3).backbone
        compiled(keras.Sequential([features, keras.layers.Dense(3)])).train_on_batch(IMAGES, LABELS)

        @tf.function
        def step(images):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(features(images, training=True))
            return tape.gradient(loss, [variable.value for variable in features.trainable_variables])

        step(IMAGES)
        assert len(registered() - before) >= 20

    collect()
    before, graphs_before = registered(), graphs()
    train()
    collect()
    assert registered() == before
    assert graphs() == graphs_before


@tensorflow_only
def test_a_gradient_is_found_as_long_as_its_graph_exists():
    """A tape around a graph function looks the gradients up when it needs them."""
    import tensorflow as tf

    call = tf.function(execution.custom_gradient(lambda x: (tf.sin(x), lambda dy: 10 * dy * tf.cos(x))))
    x = tf.constant(0.5)
    call(x)
    gc.collect()
    execution.free_gradients()
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = call(x)
    assert float(tape.gradient(y, x)) == pytest.approx(10 * np.cos(0.5))
