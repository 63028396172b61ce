"""`BiT.predict` of several batches: the numbers of the model as it is at the call, whatever changed its weights."""

import gc
import weakref

import keras
import numpy as np
import pytest

from bit_keras import BiT, load_weights, save_npz
from bit_keras.network import prediction

IMAGES = np.random.default_rng(0).uniform(-1, 1, (5, 32, 40, 3)).astype("float32")


def _model(dtype=None, seed: int = 0) -> BiT:
    model = BiT("R17x0.5", num_classes=3, dtype=dtype)
    _randomize(model, seed)
    return model


def _randomize(model: BiT, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0.5, 1, weight.shape) for weight in model.get_weights()])


def _compile(model: BiT, **options) -> None:
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True), **options)


def _assert_predicts(model: BiT, tolerance: float = 1e-5) -> np.ndarray:
    """Holds predictions in three batches against a plain call."""
    found = model.predict(IMAGES, batch_size=2, verbose=0)
    expected = keras.ops.convert_to_numpy(model(IMAGES, training=False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    return found


def _has_twin(model: BiT) -> bool:
    return model in prediction._twins


@pytest.mark.any_backend
@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16"])
def test_predictions_are_the_models(dtype):
    model = _model(dtype)
    _assert_predicts(model, 1e-5 if dtype is None else 0.1)
    assert _has_twin(model) == (keras.backend.backend() == "tensorflow")


CHANGES = {
    "train_on_batch": lambda model, path: model.train_on_batch(IMAGES, np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]]),
    "fit": lambda model, path: model.fit(IMAGES, np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]], verbose=0),
    "optimizer": lambda model, path: model.optimizer.apply(
        [keras.ops.ones(variable.shape) for variable in model.trainable_variables], model.trainable_variables
    ),
    "set_weights": lambda model, path: _randomize(model, 1),
    "assign to a kernel": lambda model, path: model.backbone.layers[2].kernel.assign_add(
        np.random.default_rng(2).normal(size=model.backbone.layers[2].kernel.shape)
    ),
    "assign to the head": lambda model, path: model.get_layer("head").bias.assign([3, -5, 7]),
    "load_weights of Keras": lambda model, path: _load_keras_weights(model, path),
    "load_weights": lambda model, path: _load_official_weights(model, path),
}


def _load_keras_weights(model, path):
    other = _model(seed=3)
    _compile(other)
    other.save_weights(path / "model.weights.h5")
    model.load_weights(path / "model.weights.h5")


def _load_official_weights(model, path):
    save_npz(_model(seed=3), path / "model.npz")
    load_weights(model, path / "model.npz")


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_count(change, tmp_path):
    model = _model()
    _compile(model)
    before = _assert_predicts(model)
    CHANGES[change](model, tmp_path)
    after = _assert_predicts(model)
    assert np.abs(after - before).max() > 1e-3 * np.abs(before).max()


def test_frozen_kernels_and_others():
    model = _model()
    _compile(model)
    model.backbone.trainable = False
    _assert_predicts(model)
    _randomize(model, 1)
    _assert_predicts(model)


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"steps_per_execution": 2}, {"jit_compile": False}])
def test_compiled_anew(options):
    model = _model()
    _assert_predicts(model)
    _compile(model, **options)
    _assert_predicts(model)


def test_the_model_keeps_its_own_functions():
    model = _model()
    found = model.predict(IMAGES[:1], verbose=0)  # of one batch, which makes no twin
    assert not _has_twin(model)
    own = model.predict_function
    _assert_predicts(model)
    assert model.predict_function is own
    _randomize(model, 1)
    expected = keras.ops.convert_to_numpy(model(IMAGES[:1]))
    for found in (model.predict_on_batch(IMAGES[:1]), model.predict(IMAGES[:1], verbose=0)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_failed_prediction_leaves_the_model_as_it_was():
    model = _model()
    own = model.predict_function

    def broken():
        yield (IMAGES[:2],)
        raise KeyboardInterrupt("stop")

    with pytest.raises((KeyboardInterrupt, Exception), match="stop"):
        model.predict(broken(), verbose=0)
    assert model.predict_function is own
    _assert_predicts(model)


def test_generators_and_callbacks():
    class Count(keras.callbacks.Callback):
        models, batches = (), 0

        def on_predict_batch_end(self, batch, logs=None):
            self.models, self.batches = (*self.models, self.model), self.batches + 1

    model, count = _model(), Count()
    found = model.predict(((IMAGES[k : k + 1],) for k in range(3)), steps=3, verbose=0, callbacks=[count])
    expected = keras.ops.convert_to_numpy(model(IMAGES[:3]))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert count.batches == 3
    assert set(map(id, count.models)) == {id(model)}


def test_the_twin_is_no_part_of_the_model(tmp_path):
    model = _model()
    layers, variables = list(model.layers), [variable.path for variable in model.variables]
    model.save(tmp_path / "before.keras")
    _assert_predicts(model)
    assert model.layers == layers
    assert [variable.path for variable in model.variables] == variables
    model.save(tmp_path / "after.keras")
    sizes = [(tmp_path / name).stat().st_size for name in ("before.keras", "after.keras")]
    assert abs(sizes[0] - sizes[1]) < 0.01 * sizes[0]
    loaded = keras.saving.load_model(tmp_path / "after.keras", compile=False)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_the_twin_dies_with_the_model():
    model = _model()
    _assert_predicts(model)
    reference = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert reference() is None


def test_subclasses_predict_as_they_say():
    class Doubled(BiT):
        def predict_step(self, data):
            return 2 * super().predict_step(data)

    model = Doubled("R17x0.5", num_classes=3)
    _randomize(model, 0)
    found = model.predict(IMAGES, batch_size=2, verbose=0)
    expected = 2 * keras.ops.convert_to_numpy(model(IMAGES))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert not _has_twin(model)


def test_strategies_predict_without_a_twin():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = _model()
    _assert_predicts(model)
    assert not _has_twin(model)
