"""The folded network, compared with the original one."""

import keras
import numpy as np
import pytest

from bit_keras import BiT, folded

pytestmark = pytest.mark.any_backend


@pytest.fixture(scope="module")
def model(golden_npz) -> BiT:
    return BiT.from_preset(golden_npz)


def _images(*size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (*size, 3)).astype("float32")


@pytest.mark.parametrize("part", ["model", "backbone"])
@pytest.mark.parametrize("size", [(2, 64, 64), (1, 33, 50)])
def test_outputs_are_the_same(model, part, size):
    network = model if part == "model" else model.backbone
    inference = folded(network)
    expected, found = (keras.ops.convert_to_numpy(net(_images(*size))) for net in (network, inference))
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
    assert [layer.name for layer in inference.layers if layer.weights] == [
        layer.name for layer in (*model.backbone.layers, *model.layers[2:][: part == "model"]) if layer.weights
    ]


def test_the_official_logits(model, golden_activations):
    logits = keras.ops.convert_to_numpy(folded(model)(golden_activations["image"]))
    expected = golden_activations["logits"]
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()


def test_kernels_are_standardized(model):
    inference = folded(model)
    convolutions = [layer for layer in inference.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 20
    for layer in convolutions:
        (kernel,) = layer.get_weights()
        np.testing.assert_allclose(kernel.mean(axis=(0, 1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(kernel.var(axis=(0, 1, 2)), 1, rtol=1e-4)


def test_the_model_is_not_changed(model):
    before = model.get_weights()
    inference = folded(model)
    inference.set_weights([np.zeros_like(weight) for weight in inference.get_weights()])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_bfloat16_is_stored(model):
    inference = folded(model, dtype="bfloat16")
    assert {weight.dtype for weight in inference.weights} == {"bfloat16"}
    images = _images(2, 64, 64)
    expected = keras.ops.convert_to_numpy(model(images))
    found = keras.ops.convert_to_numpy(keras.ops.cast(inference(images), "float32"))
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-5 < difference < 0.1  # random weights amplify rounding to eight significant bits


def test_keras_files(model, tmp_path):
    inference = folded(model)
    inference.save(tmp_path / "folded.keras")
    again = keras.saving.load_model(tmp_path / "folded.keras")
    assert type(again) is type(inference)
    images = _images(1, 33, 50)
    np.testing.assert_array_equal(again.predict_on_batch(images), inference.predict_on_batch(images))


def test_folding_keeps_a_mixed_policy(golden_npz):
    model = BiT.from_preset(golden_npz, dtype="mixed_bfloat16")
    inference = folded(model)
    images = _images(1, 64, 64)
    expected, found = (keras.ops.convert_to_numpy(net(images)) for net in (model, inference))
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, expected)


def test_the_global_data_format_changes_nothing(model):
    images = _images(1, 33, 40)
    expected = keras.ops.convert_to_numpy(folded(model)(images))
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        inference = folded(model)
        received = keras.ops.convert_to_numpy(inference(images))
    finally:
        keras.config.set_image_data_format(before)
    np.testing.assert_array_equal(received, expected)
    formats = {layer.data_format for layer in inference.layers if hasattr(layer, "data_format")}
    assert formats == {"channels_last"}


def test_other_models_are_refused():
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(
        TypeError, match=r"must be a bit_keras\.BiT, .* or a .*Detector; got a value of type Sequential"
    ):
        folded(other)


def test_lora_keeps_its_scale(tiny, tiny_npz):
    model = BiT.from_preset(tiny_npz)
    head = model.get_layer("head")
    head.enable_lora(2, lora_alpha=5)
    head.lora_kernel_b.assign(np.random.default_rng(1).normal(size=(2, 10)))
    expected, found = (keras.ops.convert_to_numpy(net(_images(2, 32, 32))) for net in (model, folded(model)))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize")
@pytest.mark.parametrize("mode", ["int4", "float8"])
def test_quantized_heads_and_their_keras_files(tiny, tiny_npz, tmp_path, mode):
    model = BiT.from_preset(tiny_npz)
    model.quantize(mode)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected, *found = (keras.ops.convert_to_numpy(n(_images(2, 32, 32))) for n in (model, folded(model), again))
    for each in found:
        assert np.abs(each - expected).max() <= 1e-5 * np.abs(expected).max()
