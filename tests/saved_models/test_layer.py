"""The layer is compared with the exported Keras model, with computations in NumPy, and with hub.KerasLayer."""

import http.server
import io
import json
import shutil
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from bit_keras.checkpoints import CheckpointError
from bit_keras.saved_models.layer import SavedModelLayer


class Affine:
    """`affine` in NumPy: dropout with a mask that depends on the step, a moving average, one regularization loss."""

    def __init__(self):
        self.kernel = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
        self.mean, self.step = np.zeros(4, np.float32), 0

    def __call__(self, inputs, training: bool, scale: float = 1.0):
        outputs = scale * inputs @ self.kernel
        if not training:
            return outputs - self.mean
        self.mean = 0.9 * self.mean + 0.1 * outputs.mean(0)
        self.step += 1
        kept = (np.arange(4) + self.step) % 2
        return 2 * kept * outputs

    def loss(self) -> float:
        return 0.5 * np.sum(self.kernel**2)

    def fit(self, inputs, targets, rate: float) -> None:
        """A step of SGD on the mean squared error and the regularization loss."""
        outputs = self(inputs, training=True)
        kept = (np.arange(4) + self.step) % 2
        gradient = inputs.T @ (2 * kept * 2 * (outputs - targets) / outputs.size)
        self.kernel = self.kernel - rate * (gradient + self.kernel)


@pytest.fixture(scope="module")
def affine(tmp_path_factory) -> Path:
    """`Affine` as a reusable SavedModel, written without the library."""
    import tensorflow as tf  # not at the top: this file is collected on every backend, but runs on one

    kernel = tf.Variable(Affine().kernel, name="scope/kernel")
    mean, step = tf.Variable(tf.zeros(4), trainable=False), tf.Variable(0, trainable=False)

    @tf.function
    def call(inputs, training=False, scale=1.0):
        outputs = scale * inputs @ kernel
        if not training:
            return outputs - mean
        mean.assign(0.9 * mean + 0.1 * tf.reduce_mean(outputs, 0))
        step.assign_add(1)
        return 2 * tf.cast((tf.range(4) + step) % 2, tf.float32) * outputs

    for training in (False, True):
        for scale in (1.0, 3.0):
            call.get_concrete_function(tf.TensorSpec([None, 3]), training=training, scale=scale)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x"), tf.TensorSpec([None, 3], name="y")])
    def serve(x, y):
        return {"sum": x + y, "product": x * y}

    root = tf.train.Checkpoint()
    root.__call__ = call
    root.variables = [mean, step, kernel]
    root.trainable_variables = [kernel]
    root.regularization_losses = [tf.function(lambda: 0.5 * tf.reduce_sum(kernel**2))]
    path = tmp_path_factory.mktemp("affine") / "saved_model"
    tf.saved_model.save(root, str(path), signatures={"serving_default": serve})
    return path


@pytest.fixture(scope="module")
def only_signatures(tmp_path_factory) -> Path:
    """A SavedModel without `__call__`, whose signature returns strings and their lengths."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text):
        return {"length": tf.strings.length(text), "text": text}

    path = tmp_path_factory.mktemp("only_signatures") / "saved_model"
    tf.saved_model.save(tf.train.Checkpoint(), str(path), signatures={"serving_default": serve})
    return path


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(*shape, 3)).astype(np.float32)


def random_rows(count: int = 8) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(count, 3)).astype(np.float32)


def affine_model(path: Path, **arguments) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), SavedModelLayer(path, name="module", **arguments)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


@pytest.fixture(scope="session")
def run_consumer(run_program) -> Callable[..., dict]:
    """Function that runs a consumer in another process and returns the JSON that it prints."""

    def run(name: str, *arguments) -> dict:
        result = run_program(f"tests.consumers.{name}", *arguments)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    return run


# A BiT


def test_training_is_that_of_the_keras_model(regularized, reusable_saved_model):
    images, labels = random_images(6, 33, 40), np.arange(6) % 3
    found = keras.Sequential([keras.Input((None, None, 3)), SavedModelLayer(reusable_saved_model)])
    expected = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Rescaling(2, -1), regularized()])
    for model in (found, expected):
        model.compile(
            keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
    assert len(found.trainable_weights) == len(found.weights) == 15
    for k in (0, 2, 4):
        losses = [model.train_on_batch(images[k : k + 2], labels[k : k + 2]) for model in (found, expected)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        # Also compares gradients: after the first step the momentum is the gradient times the learning rate.
        pairs = zip(found.weights + found.optimizer.variables, expected.weights + expected.optimizer.variables)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.max(np.abs(b)))
            # Otherwise rounding may change the sign at a ReLU in the next step: 6e-8 in a weight, 1 % in a gradient.
            a.assign(b.value)


def test_one_step_is_that_of_hub_keras_layer(run_consumer, reusable_saved_model, tmp_path):
    images, labels = random_images(4, 33, 33), np.arange(4)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    run_consumer("layer_hub_step", reusable_saved_model, tmp_path / "data.npz", tmp_path / "step.npz")
    layer = SavedModelLayer(reusable_saved_model)
    model = keras.Sequential([keras.Input((None, None, 3)), layer])
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    loss = model.train_on_batch(images, labels)

    with np.load(tmp_path / "step.npz") as expected:
        np.testing.assert_allclose(loss, expected["loss"], rtol=1e-5)
        assert len(expected) == 1 + len(layer.weights)
        for k, variable in enumerate(layer.weights):
            np.testing.assert_allclose(variable, expected[f"weight_{k}"], rtol=1e-5, atol=1e-5)


def test_two_replicas_train_as_one(run_consumer, affine, tmp_path):
    inputs, targets = random_rows(), np.ones((8, 4), np.float32)
    np.savez(tmp_path / "data.npz", inputs=inputs, targets=targets)

    facts = run_consumer("layer_mirrored", affine, tmp_path / "data.npz")

    model = affine_model(affine)
    model.fit(inputs, targets, batch_size=8, epochs=3, shuffle=False, verbose=0)
    assert facts["replicas"] == 2
    np.testing.assert_allclose(facts["kernel"], model.trainable_weights[0], rtol=1e-5)


# Training and freezing


def test_a_module_trains_with_state_and_losses(affine):
    model, reference = affine_model(affine), Affine()
    model.optimizer.momentum = 0.0
    assert [v.name for v in model.trainable_weights] == ["scope_kernel"]
    assert len(model.non_trainable_weights) == 2
    assert float(sum(model.losses)) == pytest.approx(reference.loss())
    model.compile(keras.optimizers.SGD(0.1), "mse")
    inputs, targets = random_rows(), np.ones((8, 4), np.float32)
    for _ in range(3):
        loss = model.train_on_batch(inputs, targets)
        expected_loss = reference.loss()
        reference.fit(inputs, targets, 0.1)
    assert loss > expected_loss
    for found, expected in zip(model.weights, (reference.kernel, reference.mean, reference.step), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert float(sum(model.losses)) == pytest.approx(reference.loss(), rel=1e-5)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), reference(inputs, False), rtol=1e-5, atol=1e-6)


def test_regularization_counts_once_where_a_layer_is_called_twice(affine):
    inputs, layer = keras.Input((3,)), SavedModelLayer(affine)
    model = keras.Model(inputs, layer(inputs) + layer(keras.layers.Rescaling(2)(inputs)))
    model(random_rows())
    assert float(sum(model.losses)) == pytest.approx(Affine().loss())


@pytest.mark.parametrize("when", ["argument", "before", "after"])
def test_a_frozen_layer_stays_as_it_is(affine, when):
    layer = SavedModelLayer(affine, trainable=when != "argument")
    if when == "before":
        layer.trainable = False
    model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(1)])
    if when == "after":
        layer.trainable = False
    assert len(model.trainable_weights) == 2
    assert len(layer.non_trainable_weights) == 3
    assert model.losses == []
    before = [v.numpy() for v in layer.weights]
    model.compile("sgd", "mse")
    model.fit(random_rows(), np.ones((8, 1)), epochs=2, verbose=0)
    for variable, value in zip(layer.weights, before):
        np.testing.assert_array_equal(variable, value)  # the moving average too: it was called with training=False

    layer.trainable = True
    assert len(model.trainable_weights) == 3
    assert float(sum(model.losses)) == pytest.approx(Affine().loss())
    model.compile("sgd", "mse")
    model.fit(random_rows(), np.ones((8, 1)), verbose=0)
    for variable, value in zip(layer.weights, before):
        assert not np.array_equal(variable, value), variable.path


def test_further_arguments_of_the_call(affine):
    rows = random_rows()
    np.testing.assert_allclose(
        SavedModelLayer(affine, arguments={"scale": 3.0})(rows), Affine()(rows, False, 3.0), rtol=1e-5
    )
    layer = SavedModelLayer(affine, arguments={"training": False})
    layer(rows, training=True)
    assert int(layer.weights[2]) == 0


def test_xla_is_left_off(affine, monkeypatch):
    import tensorflow as tf

    # Keras compiles with XLA if there is an accelerator.
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda: [types.SimpleNamespace(device_type="GPU")])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert model.jit_compile is True
    model = affine_model(affine)
    assert model.jit_compile is False
    model.fit(random_rows(), np.ones((8, 4)), verbose=0)


# Models


def test_any_size_in_functional_and_sequential_models(regularized, reusable_saved_model):
    model, layer = regularized(), SavedModelLayer(reusable_saved_model)
    assert layer.compute_output_shape((None, None, None, 3)) == (None, 10)
    images = keras.Input((None, None, 3))
    functional = keras.Model(images, keras.layers.Softmax()(layer(images)))
    sequential = keras.Sequential([layer, keras.layers.Softmax()])
    assert functional.output_shape == (None, 10)
    for shape in ((1, 32, 32), (3, 57, 90)):
        batch = random_images(*shape)
        expected = keras.ops.softmax(model(2 * batch - 1))
        np.testing.assert_allclose(functional.predict(batch, verbose=0), expected, rtol=1e-4)
        np.testing.assert_allclose(sequential.predict(batch, verbose=0), expected, rtol=1e-4)


def test_layers_of_one_handle_have_separate_weights(affine):
    first, second = SavedModelLayer(affine), SavedModelLayer(affine)
    first.weights[0].assign(np.zeros((3, 4)))
    np.testing.assert_array_equal(second.weights[0], Affine().kernel)
    assert np.any(second(random_rows()))


def test_a_clone_has_the_weights_of_the_saved_model(affine):
    model = affine_model(affine, arguments={"scale": 3.0}, embed=True)
    model.layers[0].trainable = False
    model.weights[0].assign(np.zeros((3, 4)))
    clone = keras.models.clone_model(model)
    assert not clone.layers[0].trainable
    assert clone.layers[0].arguments == {"scale": 3.0}
    np.testing.assert_allclose(clone(random_rows()), Affine()(random_rows(), False, 3.0), rtol=1e-5)


def test_loaded_objects_and_functions(affine):
    import tensorflow as tf

    loaded = tf.saved_model.load(affine)
    first, second = SavedModelLayer(loaded), SavedModelLayer(loaded)
    first.weights[0].assign(np.zeros((3, 4)))
    np.testing.assert_array_equal(second(random_rows()), np.zeros((8, 4)))
    with pytest.raises(ValueError, match="if its handle is a directory, an address or a name, got <tensorflow"):
        first.get_config()
    with pytest.raises(ValueError, match="embed needs the directory of a SavedModel, got <tensorflow"):
        SavedModelLayer(loaded, embed=True)

    @tf.function
    def double(x, training):
        return 2 * x if training else x

    inputs = keras.Input((3,))
    model = keras.Model(inputs, SavedModelLayer(double)(inputs))
    rows = random_rows()
    np.testing.assert_array_equal(model(rows), rows)
    np.testing.assert_array_equal(model(rows, training=True), 2 * rows)
    np.testing.assert_array_equal(SavedModelLayer(lambda x: 3 * x)(rows), 3 * rows)


def test_precision(affine):
    import tensorflow as tf

    rows = random_rows()
    expected = Affine()(rows, False)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = keras.Sequential([keras.Input((3,)), SavedModelLayer(affine), keras.layers.Dense(2)])
    finally:
        keras.config.set_dtype_policy("float32")
    layer = model.layers[0]
    outputs = layer(rows)
    assert outputs.dtype == layer.weights[0].dtype == tf.float32
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    assert model(rows).dtype == tf.bfloat16
    np.testing.assert_allclose(layer(rows.astype(np.float64)), expected, rtol=1e-6)
    np.testing.assert_allclose(layer(tf.cast(rows, tf.bfloat16)), expected, rtol=0.02, atol=0.02)
    with pytest.raises(ValueError, match="must be that of its inputs, such as 'float32', got the mixed policy"):
        SavedModelLayer(affine, dtype="mixed_bfloat16")


# Files


@pytest.mark.parametrize("embed", [False, True])
def test_a_keras_file_resumes_the_training(affine, tmp_path, embed):
    inputs, targets = random_rows(), np.ones((8, 4), np.float32)
    handle = shutil.copytree(affine, tmp_path / "handle")
    model = affine_model(handle, embed=embed)
    model.train_on_batch(inputs, targets)
    model.save(tmp_path / "model.keras")
    if embed:
        shutil.rmtree(handle)

    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)

    assert loaded.jit_compile is False
    assert [v.path for v in loaded.trainable_weights] == [v.path for v in model.trainable_weights]
    for a, b in zip(loaded.variables + loaded.optimizer.variables, model.variables + model.optimizer.variables):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0))
    for _ in range(2):
        assert loaded.train_on_batch(inputs, targets) == model.train_on_batch(inputs, targets)
    for a, b in zip(loaded.variables + loaded.optimizer.variables, model.variables + model.optimizer.variables):
        np.testing.assert_array_equal(a, b)


def test_weights_file(affine, tmp_path):
    model = affine_model(affine)
    model.train_on_batch(random_rows(), np.ones((8, 4), np.float32))
    model.save_weights(tmp_path / "model.weights.h5")
    other = keras.Sequential([keras.Input((3,)), SavedModelLayer(affine, trainable=False)])
    other.load_weights(tmp_path / "model.weights.h5")
    for a, b in zip(other.layers[0].weights, model.layers[0].weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(other(random_rows()), model(random_rows()))


def test_an_embedded_saved_model_moves(run_consumer, reusable_saved_model, tmp_path):
    handle = shutil.copytree(reusable_saved_model, tmp_path / "handle")
    images = keras.Input((None, None, 3))
    layer = SavedModelLayer(handle, embed=True)
    model = keras.Model(images, keras.layers.Dense(2)(layer(images)))
    layer.weights[0].assign(2 * layer.weights[0])
    model.save(tmp_path / "first.keras")
    expected = model.predict(random_images(2, 33, 33), verbose=0)
    shutil.rmtree(handle)
    keras.saving.load_model(tmp_path / "first.keras", safe_mode=False).save(tmp_path / "second.keras")
    np.savez(tmp_path / "data.npz", images=random_images(2, 33, 33), outputs=expected)

    facts = run_consumer("layer_load", tmp_path / "second.keras", tmp_path / "data.npz")

    assert facts["difference"] < 1e-6
    assert facts["trainable_weights"] == 17
    assert facts["losses"] == 1
    assert facts["class_names"] == 10
    assert facts["folder_left"] is False
    with zipfile.ZipFile(tmp_path / "second.keras") as archive:
        stored = [name for name in archive.namelist() if name.endswith("class_names.txt")]
    assert len(stored) == 1


def test_an_embedded_saved_model_in_parts_of_a_file_is_refused(affine, tmp_path):
    model = affine_model(affine, embed=True)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    half = keras.saving.deserialize_keras_object(config, safe_mode=False)
    assert half.output_shape == (None, 4)
    with pytest.raises(ValueError, match=r"is stored in a \.keras file: load it with keras\.saving"):
        half(random_rows())
    with pytest.raises(ValueError, match=r"is stored in a \.keras file"):
        half.save(tmp_path / "model.keras")


def test_a_saved_model_that_does_not_fit_its_file_is_refused(affine, tmp_path):
    affine_model(affine, embed=True).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"]["awaited"]["made"] = []
    members["config.json"] = json.dumps(config)
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="must fit its configuration, scope_kernel does not"):
        keras.saving.load_model(tmp_path / "other.keras", safe_mode=False)


@pytest.mark.parametrize("embed", [False, True])
def test_a_foreign_graph_is_not_run_in_safe_mode(affine, tmp_path, embed, monkeypatch):
    import tensorflow as tf

    affine_model(affine, embed=embed).save(tmp_path / "model.keras")
    monkeypatch.setattr(tf.saved_model, "load", None)
    with pytest.raises(ValueError, match="if you trust it, load with safe_mode=False") as error:
        keras.saving.load_model(tmp_path / "model.keras")
    assert str(affine) in str(error.value)


def test_keras_export(reusable_saved_model, tmp_path):
    import tensorflow as tf

    model = keras.Sequential(
        [keras.Input((None, None, 3)), SavedModelLayer(reusable_saved_model), keras.layers.Dense(2)]
    )
    model.export(tmp_path / "saved_model", verbose=False)
    images = random_images(2, 33, 33)
    loaded = tf.saved_model.load(tmp_path / "saved_model")
    np.testing.assert_allclose(loaded.serve(images), model(images), rtol=1e-5, atol=1e-5)


# Signatures


def test_a_signature(only_signatures, affine):
    texts = np.array(["a", "bcd"])
    layer = SavedModelLayer(only_signatures, signature="serving_default", output_key="length")
    model = keras.Sequential([keras.Input((), dtype="string"), layer])
    assert layer.trainable is False
    np.testing.assert_array_equal(model(texts), [1, 3])
    both = SavedModelLayer(only_signatures, signature="serving_default")(texts)
    assert sorted(both) == ["length", "text"]

    named = {"x": random_rows(), "y": random_rows() + 1}
    layer = SavedModelLayer(affine, signature="serving_default", output_key="product")
    np.testing.assert_allclose(layer(named), named["x"] * named["y"], rtol=1e-6)
    inputs = {name: keras.Input((3,), name=name) for name in "xy"}
    model = keras.Model(inputs, layer(inputs))
    np.testing.assert_allclose(model.predict(named, verbose=0), named["x"] * named["y"], rtol=1e-6)
    layer.trainable = True
    assert layer.weights == []
    assert SavedModelLayer.from_config(layer.get_config()).trainable is False


def test_a_signature_in_a_keras_file(only_signatures, tmp_path):
    handle = shutil.copytree(only_signatures, tmp_path / "handle")
    layer = SavedModelLayer(handle, signature="serving_default", output_key="length", embed=True)
    keras.Sequential([keras.Input((), dtype="string"), layer]).save(tmp_path / "model.keras")
    shutil.rmtree(handle)
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_array_equal(loaded(np.array(["a", "bcd"])), [1, 3])


def test_signatures_are_refused(only_signatures, affine):
    with pytest.raises(ValueError, match="trainable must be False or None, got True with signature='x'"):
        SavedModelLayer(affine, trainable=True, signature="x")
    with pytest.raises(ValueError, match=r"signature must be one of \['serving_default'\] for .*, got 'x'"):
        SavedModelLayer(affine, signature="x")
    with pytest.raises(ValueError, match=r"no __call__.*signature must be one of \['serving_default'\], got None"):
        SavedModelLayer(only_signatures)
    layer = SavedModelLayer(affine, output_key="logits")
    with pytest.raises(ValueError, match=r"output_key must be None or one of \[\] for .*, got 'logits'"):
        layer(random_rows())
    layer = SavedModelLayer(only_signatures, signature="serving_default", output_key="x")
    with pytest.raises(ValueError, match=r"one of \['length', 'text'\] for .*, got 'x'"):
        layer(np.array(["a"]))


def test_a_tf1_hub_module(tmp_path):
    import tensorflow.compat.v1 as tf

    path = tmp_path / "module"
    builder = tf.saved_model.Builder(str(path))
    for tags in ([], ["train"]):
        with tf.Graph().as_default(), tf.Session() as session:
            inputs = tf.placeholder(tf.float32, [None, 3])
            outputs = inputs * tf.get_variable("scale", initializer=2.0)
            session.run(tf.global_variables_initializer())
            signature = tf.saved_model.predict_signature_def({"images": inputs}, {"default": outputs})
            if tags:
                builder.add_meta_graph(tags, {"default": signature})
            else:
                builder.add_meta_graph_and_variables(session, tags, {"default": signature})
    builder.save()
    (path / "tfhub_module.pb").write_bytes(b"\x08\x03")

    with pytest.raises(ValueError, match=r'is a TF1 Hub module.* signature="default", .*BiT.from_preset\(handle\)'):
        SavedModelLayer(path)
    layer = SavedModelLayer(path, signature="default", output_key="default", tags=[], embed=True)
    np.testing.assert_array_equal(layer(random_rows()), 2 * random_rows())
    keras.Sequential([keras.Input((3,)), layer]).save(tmp_path / "model.keras")
    shutil.rmtree(path)
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_array_equal(loaded(random_rows()), 2 * random_rows())


# Handles


@pytest.mark.any_backend
def test_other_backends_are_refused(tmp_path, monkeypatch):
    if keras.backend.backend() == "tensorflow":
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(NotImplementedError, match=r"TensorFlow graph.* backend only, got (jax|torch): set KERAS"):
        SavedModelLayer(tmp_path)


def test_handles_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no SavedModel directory: {tmp_path}/none"):
        SavedModelLayer(tmp_path / "none")
    (tmp_path / "weights.npz").touch()
    with pytest.raises(ValueError, match=rf"saved_model.pb at its top, {tmp_path} has \['weights.npz'\]"):
        SavedModelLayer(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(ValueError, match=f"the SavedModel {tmp_path} cannot be loaded"):
        SavedModelLayer(tmp_path)
    with pytest.raises(ValueError, match="a SavedModel, or a loaded object; got 3"):
        SavedModelLayer(3)


def test_trainable_without_variables_is_reported(affine, caplog):
    SavedModelLayer(lambda x: x, name="nothing")
    assert "layer nothing is trainable, but" in caplog.text
    caplog.clear()
    SavedModelLayer(affine)
    SavedModelLayer(lambda x: x, trainable=False)
    assert not caplog.text


def archive_of(path: Path, name: str = ".") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(path, name)
    return stream.getvalue()


@pytest.fixture
def serve_bytes(serve, tmp_path, monkeypatch):
    """Returns a function that serves bytes and returns their address."""
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "cache"))

    def start(content: bytes) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        return f"{serve(Handler)}/module.tar.gz"

    return start


def test_an_archive_is_downloaded_and_unpacked_once(affine, serve_bytes, monkeypatch):
    address = serve_bytes(archive_of(affine))
    np.testing.assert_allclose(SavedModelLayer(address)(random_rows()), Affine()(random_rows(), False), rtol=1e-5)
    monkeypatch.setattr(tarfile, "open", None)  # as `bit_keras.saved_models.archive` calls it
    assert SavedModelLayer(address).get_config()["handle"] == address


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (lambda path: b"no archive", ValueError, "must be a tar archive of a SavedModel"),
        (lambda path: archive_of(path)[:-200], ValueError, "must be a tar archive of a SavedModel"),
        (lambda path: archive_of(path, "../up"), ValueError, "must be a tar archive of a SavedModel"),
        (lambda path: archive_of(path, "folder"), ValueError, r"saved_model.pb at its top.*has \['folder'\]"),
    ],
)
def test_archives_are_refused(affine, serve_bytes, tmp_path, content, error, message):
    with pytest.raises(error, match=message):
        SavedModelLayer(serve_bytes(content(affine)))
    assert not (tmp_path / "up").exists()


def test_a_bomb_is_refused(serve_bytes, tmp_path):
    (tmp_path / "zeros").write_bytes(bytes(10_000_000))
    with pytest.raises(CheckpointError, match="promises arrays of 10000000 bytes"):
        SavedModelLayer(serve_bytes(archive_of(tmp_path / "zeros")))
    assert not list(tmp_path.rglob("*.unpacked"))


def test_a_damaged_index_is_refused_before_tensorflow_reads_it(affine, tmp_path):
    path = shutil.copytree(affine, tmp_path / "damaged") / "variables" / "variables.index"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{tmp_path}/damaged has no readable variables: .* differs from its"):
        SavedModelLayer(tmp_path / "damaged")


@pytest.fixture(scope="module")
def unknown_sizes(tmp_path_factory) -> Path:
    """A SavedModel whose output of shape [N, 4] is stated as [None, None], and another of [N, 2, 2] as unknown."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def call(inputs):
        outputs = tf.concat([inputs, inputs[:, :1]], 1)
        square = tf.raw_ops.PlaceholderWithDefault(input=tf.reshape(outputs, [-1, 2, 2]), shape=None)
        return {"flat": tf.reshape(outputs, tf.stack([tf.shape(inputs)[0], -1])), "square": square}

    root = tf.train.Checkpoint()
    root.__call__ = call
    path = tmp_path_factory.mktemp("unknown_sizes") / "saved_model"
    tf.saved_model.save(root, str(path))
    return path


@pytest.mark.parametrize("embed", [False, True])
def test_output_shape(unknown_sizes, tmp_path, embed):
    rows = random_rows()
    expected = np.concatenate([rows, rows[:, :1]], 1)
    shapes = {"flat": (4,), "square": [None, 2]}
    for key, shape, output in (("flat", [4], expected), ("square", (2, 2), expected.reshape(-1, 2, 2))):
        layer = SavedModelLayer(unknown_sizes, False, output_key=key, output_shape=shape, embed=embed)
        model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Flatten(), keras.layers.Dense(1)])
        assert layer.compute_output_shape((None, 3)) == (None, *shape)
        np.testing.assert_array_equal(layer(rows), output)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
        assert loaded.layers[0].get_config()["output_shape"] == list(shape)
        np.testing.assert_array_equal(loaded.predict(rows, verbose=0), model.predict(rows, verbose=0))
    both = SavedModelLayer(unknown_sizes, False, output_shape=shapes)(keras.Input((3,)))
    assert {name: output.shape for name, output in both.items()} == {"flat": (None, 4), "square": (None, None, 2)}


def test_a_wrong_output_shape(unknown_sizes, affine):
    rows = random_rows()
    words = r"output_shape must be the shape of the output without N, got \[5\] for .*, which returns"
    with pytest.raises(ValueError, match=words):
        SavedModelLayer(affine, output_shape=[5])(keras.Input((3,)))
    layer = SavedModelLayer(unknown_sizes, False, output_key="flat", output_shape=[5])
    with pytest.raises(ValueError, match=words):
        layer(rows)
    for key in ("flat", "square"):  # another size, another rank
        layer = SavedModelLayer(unknown_sizes, False, output_key=key, output_shape=[5])
        with pytest.raises(Exception, match=words):
            keras.Sequential([keras.Input((3,)), layer]).predict(rows, verbose=0)
    with pytest.raises(ValueError, match=r"a shape for each output, \['flat', 'square'\], got \[4\]"):
        SavedModelLayer(unknown_sizes, False, output_shape=[4])(rows)
    for shape in (4, "ab", [4.5]):
        with pytest.raises(ValueError, match="output_shape must be a list of sizes without N"):
            SavedModelLayer(affine, output_shape=shape)


def test_kaggle_addresses_and_names(affine, tmp_path, monkeypatch):
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    module = tmp_path / "models/google/bit/tensorFlow2/m-r50x1-imagenet21k-classification/1"
    shutil.copytree(affine, module)
    module.with_name("1.complete").touch()
    path = "google/bit/tensorFlow2/m-r50x1-imagenet21k-classification"
    for handle in (f"kaggle://{path}", f"https://www.kaggle.com/models/{path}/1", "BiT-M-R50x1"):
        assert len(SavedModelLayer(handle).weights) == 3
