"""The ablation of normalizations: its networks, its table, and a complete small one."""

import json

import keras
import numpy as np
import pytest

from benchmarks import ablation
from benchmarks.ablation import NORMALIZATIONS, renormalize
from bit_keras import BiT
from bit_keras.network.layers import GroupNormalization, StandardizedConv2D

pytestmark = pytest.mark.usefixtures("tiny")

GN_WS, GN, BN, BN_WS = NORMALIZATIONS


@pytest.fixture(scope="module")
def model(golden_npz) -> BiT:
    return BiT.from_preset(golden_npz)


def _images(*size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (*size, 3)).astype("float32")


@pytest.mark.parametrize("normalization", NORMALIZATIONS, ids=lambda normalization: normalization.name)
def test_layers_are_those_of_the_row(model, normalization):
    network = renormalize(model, normalization)
    assert [layer.name for layer in network.layers[:-1]] == [layer.name for layer in model.backbone.layers]
    norm = ablation.BatchNormalizationRelu if normalization.batch else GroupNormalization
    convolution = StandardizedConv2D if normalization.standardize else keras.layers.Conv2D
    for old, new in zip(model.backbone.layers, network.layers, strict=False):
        kinds = {GroupNormalization: norm, StandardizedConv2D: convolution}
        assert type(new) is kinds.get(type(old), type(old))
        if type(new) is norm is not GroupNormalization:
            assert (new.momentum, new.epsilon) == (0.9, old.epsilon)
    old, new = ([tuple(v.shape) for v in net.trainable_variables] for net in (model, network))
    assert sorted(new) == sorted(old)
    assert not network.layers[-1].get_weights()[0].any()


def test_batch_normalization_ends_in_relu():
    layers = (keras.layers.BatchNormalization(), ablation.BatchNormalizationRelu())
    plain, relu = (layer(_images(4, 5, 6), training=True).numpy() for layer in layers)
    assert plain.min() < 0
    np.testing.assert_array_equal(relu, np.maximum(plain, 0))


def test_group_normalization_with_standardization_is_bit(model):
    network = renormalize(model, GN_WS)
    for layer in (*model.backbone.layers, model.get_layer("head")):
        if layer.weights:
            network.get_layer(layer.name).set_weights(layer.get_weights())
    np.testing.assert_array_equal(
        network.predict_on_batch(_images(2, 33, 48)), model.predict_on_batch(_images(2, 33, 48))
    )


def test_all_networks_of_a_seed_begin_with_the_same_kernels():
    kernels = []
    for normalization in NORMALIZATIONS:
        keras.utils.set_random_seed(3)
        network = renormalize(BiT("tiny", 2), normalization)
        kernels.append([v.numpy() for v in network.trainable_variables if v.name == "kernel"])
    for others in kernels[1:]:
        for a, b in zip(kernels[0], others, strict=True):
            np.testing.assert_array_equal(a, b)
    stem = kernels[0][0]
    assert stem.std() == pytest.approx(np.sqrt(2 / np.prod(stem.shape[:3])), rel=0.05)


# The official network pads every side with zeros by half of the kernel size, whatever the stride.
@pytest.mark.parametrize(
    ("name", "pads"),
    [
        ("root_block_standardized_conv2d", "root_block_padding"),
        ("block1_unit01_b_standardized_conv2d", None),
        ("block2_unit01_b_standardized_conv2d", "block2_unit01_b_padding"),
    ],
)
def test_a_plain_convolution_is_padded_as_the_official_one(model, name, pads):
    network = renormalize(model, GN)
    layer = network.get_layer(name)
    first = network.get_layer(pads) if pads else layer
    inputs = np.random.default_rng(0).normal(size=(2, 9, 7, first.input.shape[-1])).astype("float32")
    found = layer(first(inputs) if pads else inputs).numpy()

    (kernel,) = layer.get_weights()
    size, (stride, _) = len(kernel), layer.strides
    padded = np.pad(inputs, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    expected = np.einsum("nhwcij,ijcf->nhwf", windows, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_the_table_has_median_range_and_paper():
    records = [
        {"normalization": row.name, "test_accuracy": accuracy + 0.1 * number}
        for number, row in enumerate(NORMALIZATIONS)
        for accuracy in (0.2, 0.1, 0.4)
    ]
    assert ablation.table(records, "tiny on digits").splitlines() == [
        "| normalization | tiny on digits | R50x1 on ImageNet (paper) |",
        "|---|---|---|",
        "| GN+WS | 20.0 (10.0 to 40.0) | 76.0 |",
        "| GN | 30.0 (20.0 to 50.0) | 70.2 |",
        "| BN | 40.0 (30.0 to 60.0) | 75.6 |",
        "| BN+WS | 50.0 (40.0 to 70.0) | 75.8 |",
    ]


def test_an_interrupted_ablation_resumes(tmp_path, monkeypatch):
    settings = {"steps": 5, "seeds": 1, "batch_size": 8, "resolution": 8, "min_area": 0.5, "eval_every": 5}
    measure, calls = ablation._measure, []

    class Interruption(Exception):
        pass

    def measure_two(config, source, normalization, steps):
        if len(calls) == 2:
            raise Interruption
        calls.append(normalization)
        return measure(config, source, normalization, steps)

    monkeypatch.setattr(ablation, "_measure", measure_two)
    with pytest.raises(Interruption):
        ablation.ablate("tiny", "digits", tmp_path, **settings)
    assert not (tmp_path / "ablation.json").exists()
    monkeypatch.setattr(ablation, "_measure", lambda *run: calls.append(run[2]) or measure(*run))
    records = ablation.ablate("tiny", "digits", tmp_path, **settings)
    assert calls == list(NORMALIZATIONS)
    assert [record["normalization"] for record in records] == ["GN+WS", "GN", "BN", "BN+WS"]
    assert json.loads((tmp_path / "ablation.json").read_text())["runs"] == records
    assert (tmp_path / "ablation.md").read_text() == ablation.table(records, "tiny on digits")
    with pytest.raises(FileExistsError, match="min_area"):
        ablation.ablate("tiny", "digits", tmp_path, **{**settings, "min_area": 0.4})


def test_moving_averages_are_updated(tmp_path, monkeypatch):
    networks = []
    monkeypatch.setattr(ablation, "NORMALIZATIONS", (BN,))
    monkeypatch.setattr(ablation, "renormalize", lambda *args: networks.append(renormalize(*args)) or networks[-1])
    settings = {"steps": 5, "seeds": 1, "batch_size": 8, "resolution": 8, "eval_every": 5}
    ablation.ablate("tiny", "digits", tmp_path, **settings)
    (network,) = networks
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert np.abs(layer.moving_mean.numpy()).max() > 0
            assert not np.allclose(layer.moving_variance.numpy(), 1)


def test_too_few_steps_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="ascending numbers of steps"):
        ablation.ablate("tiny", "digits", tmp_path / "run", steps=2)
    assert not (tmp_path / "run").exists()
