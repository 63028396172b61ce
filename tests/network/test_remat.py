"""Rematerialization: the same network, gradients and files with less memory."""

import collections

import keras
import numpy as np
import pytest

from bit_keras.network import execution
from bit_keras.network.folding import folded
from bit_keras.network.layers import StandardizedConv2D
from bit_keras.network.model import BiT
from bit_keras.saved_models.export import export_saved_model

pytestmark = pytest.mark.usefixtures("tiny")

SMALL = "R17x0.5"


def _gradients(model: BiT, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns {path of the weight: gradient of the mean loss}."""
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True)
    variables = model.trainable_variables
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(images, training=True))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
    elif backend == "jax":
        import jax

        def loss(trainable, frozen):
            logits, _ = model.stateless_call(trainable, frozen, images, training=True)
            return loss_of(labels, logits)

        frozen = [variable.value for variable in model.non_trainable_variables]
        arguments = [variable.value for variable in variables], frozen
        jax.eval_shape(jax.grad(loss), *arguments)  # an earlier trace must not affect the result
        gradients = jax.grad(loss)(*arguments)  # not compiled: XLA would fuse operations and round differently
    else:
        model.zero_grad()
        loss_of(labels, model(images, training=True)).backward()
        gradients = [variable.value.grad for variable in variables]
    arrays = [keras.ops.convert_to_numpy(keras.ops.cast(gradient, "float32")) for gradient in gradients]
    return dict(zip([variable.path for variable in variables], arrays, strict=True))


IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
LABELS = np.eye(10, dtype="float32")[:2]


PRECISIONS = [("float32", 1e-6), ("mixed_bfloat16", 1e-2)]
if keras.backend.backend() == "jax":  # each case takes long without compilation
    del PRECISIONS[1:]


@pytest.mark.any_backend
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_gradients_are_those_without(golden_npz, monkeypatch, dtype, tolerance):
    # XLA rounds differently if a function is compiled as part of another.
    monkeypatch.setattr(execution, "XLA_MINIMUM", 2**60)
    models = [BiT.from_preset(golden_npz, dtype=dtype, remat=remat) for remat in (False, True)]
    for model in models:
        model.backbone.get_layer("block2_unit01_b_standardized_conv2d").trainable = False
    plain, remat = models
    expected, received = (_gradients(model, IMAGES, LABELS) for model in (plain, remat))
    assert set(received) == set(expected)
    for path, gradient in expected.items():
        error = np.abs(received[path] - gradient).max() / np.abs(gradient).max()
        assert error <= tolerance, f"{path} differs by {error:.2e} of its scale"


@pytest.mark.parametrize("remat", [False, True])
def test_every_convolution_is_computed_once_more(golden_npz, monkeypatch, remat):
    model = BiT.from_preset(golden_npz, remat=remat)
    calls, call = collections.Counter(), StandardizedConv2D.call

    def counted(self, inputs, training=None):
        calls[self.name] += 1
        return call(self, inputs, training)

    monkeypatch.setattr(StandardizedConv2D, "call", counted)
    _gradients(model, IMAGES, LABELS)
    assert len(calls) == 20
    assert set(calls.values()) == {2 if remat else 1}


def test_files_and_folding_do_not_notice(golden_npz, tmp_path):
    plain, remat = (BiT.from_preset(golden_npz, remat=remat) for remat in (False, True))
    assert [weight.path for weight in remat.weights] == [weight.path for weight in plain.weights]
    assert list(remat.backbone.pyramid_outputs) == list(plain.backbone.pyramid_outputs)
    logits = keras.ops.convert_to_numpy(plain(IMAGES))
    np.testing.assert_array_equal(remat(IMAGES), logits)
    np.testing.assert_array_equal(folded(remat)(IMAGES), folded(plain)(IMAGES))
    for name in ("remat.keras", "remat.weights.h5"):
        (remat.save if name.endswith(".keras") else remat.save_weights)(tmp_path / name)
    loaded = keras.saving.load_model(tmp_path / "remat.keras")
    assert loaded.backbone.remat
    assert loaded.get_config() == remat.get_config()
    np.testing.assert_array_equal(loaded(IMAGES), logits)
    other = BiT(SMALL, 10)
    other.load_weights(tmp_path / "remat.weights.h5")
    np.testing.assert_array_equal(other(IMAGES), logits)


def test_a_saved_model_is_that_of_the_plain_network(tiny_npz, tmp_path):
    remat = BiT.from_preset(tiny_npz, remat=True)
    export_saved_model(remat, tmp_path / "exported")
    assert b"internal_grad_fn" not in (tmp_path / "exported" / "saved_model.pb").read_bytes()
    assert remat.backbone.remat
