"""The network, compared with activations of the official one, and its behaviour as a Keras model."""

import functools
import http.server
import os

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.checkpoints import CheckpointError, read_npz
from bit_keras.network.model import Backbone, BiT
from bit_keras.zoo.presets import PRESETS, Preset, WeightFile
from bit_keras.zoo.variants import VARIANTS, Variant

any_backend = pytest.mark.any_backend

STAGES = ["root_block", "block1", "block2", "block3", "block4"]
SMALL = "R17x0.5"


def _all_outputs(model: BiT) -> keras.Model:
    backbone = model.backbone
    logits = model.get_layer("head")(backbone.output)
    return keras.Model(backbone.input, {**backbone.pyramid_outputs, "features": backbone.output, "logits": logits})


@pytest.fixture(scope="module")
def golden(golden_npz) -> BiT:
    """A shared model, which tests must not change."""
    return BiT.from_preset(golden_npz, variant=SMALL)


def _images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, size=(*shape, 3)).astype("float32")


def _predict(model: keras.Model, images: np.ndarray):
    model.run_eagerly = keras.backend.backend() != "jax"  # except on jax, compiling takes longer than one eager batch
    return model.predict(images, verbose=0)


def _weights_equal(a: keras.Model, b: keras.Model) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def _error(received, expected: np.ndarray) -> float:
    """Returns the largest difference relative to the largest expected value."""
    received = keras.ops.convert_to_numpy(keras.ops.cast(received, "float32"))
    assert received.shape == expected.shape
    return float(np.abs(received - expected).max() / np.abs(expected).max())


@any_backend
def test_every_stage_equals_the_official_network(golden, golden_activations):
    received = _predict(_all_outputs(golden), golden_activations["image"])
    assert set(received) == {*STAGES, "features", "logits"} == set(golden_activations) - {"image"}
    for name, value in received.items():
        error = _error(value, golden_activations[name])
        assert error < 1e-5, f"{name} differs by {error:.2e} of its scale"


@pytest.mark.parametrize("shape", [pytest.param((3, 33, 70), marks=any_backend), (1, 64, 32), (2, 31, 31), (1, 1, 1)])
def test_any_height_width_and_batch(golden, shape):
    images = _images(*shape)
    received = _predict(_all_outputs(golden), images)
    stride = 2
    for name, channels in zip(STAGES, (32, 128, 256, 512, 1024)):
        stride = 4 if name in ("root_block", "block1") else 2 * stride
        sizes = [-(-size // stride) for size in shape[1:]]
        assert received[name].shape == (shape[0], *sizes, channels)
    assert received["logits"].shape == (shape[0], 10)
    assert np.isfinite(received["logits"]).all()


def test_images_of_a_batch_do_not_touch_each_other(golden):
    images = _images(3, 40, 50)
    alone = [_predict(golden, images[i : i + 1])[0] for i in range(3)]
    assert _error(_predict(golden, images), np.stack(alone)) < 1e-5


def test_stages(golden):
    assert list(golden.backbone.pyramid_outputs) == STAGES
    golden.backbone.pyramid_outputs.clear()
    assert list(golden.backbone.pyramid_outputs) == STAGES


@pytest.fixture
def channels_first():
    """Changes Keras's global setting, which the network must ignore."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@any_backend
def test_the_global_data_format_changes_nothing(golden, golden_npz, channels_first):
    model = BiT.from_preset(golden_npz)
    layers = [layer for layer in model.backbone.layers if hasattr(layer, "data_format")]
    assert len(layers) == 7  # paddings and pooling
    assert {layer.data_format for layer in layers} == {"channels_last"}
    images = _images(2, 33, 40)
    expected, received = _predict(_all_outputs(golden), images), _predict(_all_outputs(model), images)
    assert all(np.array_equal(received[name], expected[name]) for name in expected)


@any_backend
def test_layer_names_are_the_official_paths(golden, golden_npz):
    received = {
        f"{layer.name}/{weight.name}": tuple(weight.shape)
        for layer in [*golden.backbone.layers, golden.get_layer("head")]
        for weight in layer.weights
    }
    expected = {}
    for key, array in read_npz(golden_npz).items():
        prefix, *path, weight = key.split("/")
        assert prefix == "resnet"
        is_head = path == ["head", "conv2d"]
        name = "head" if is_head else "_".join(path)
        expected[f"{name}/{weight}"] = array.shape[2:] if is_head and weight == "kernel" else array.shape
    assert received == expected


def test_attributes():
    model = BiT(SMALL, num_classes=7)
    assert model.variant is VARIANTS[SMALL]
    assert (model.variant_name, model.num_classes, model.name) == (SMALL, 7, "bit")
    assert [layer.name for layer in model.layers] == ["images", "backbone", "head"]
    assert model.output.shape == (None, 7)
    assert model.input.shape == (None, None, None, 3)
    assert model.backbone.output.shape == (None, 1024)


def test_new_head_gives_zero_logits():
    model = BiT(SMALL, num_classes=7)
    logits = _predict(model, _images(2, 32, 32))
    np.testing.assert_array_equal(logits, np.zeros((2, 7)))
    assert any(weight.any() for weight in model.backbone.get_weights())


def test_refused_arguments():
    with pytest.raises(ValueError, match="num_classes must be 1 or more, got 0"):
        BiT(SMALL, num_classes=0)
    for value in (True, 2.5, "10", None):
        with pytest.raises(ValueError, match=f"num_classes must be an integer, 1 or more, got {value!r}"):
            BiT(SMALL, num_classes=value)
        if value is not None:  # a value for the head of the file
            with pytest.raises(ValueError, match="num_classes must be an integer"):
                BiT.from_preset("BiT-mini-R17x0.5", num_classes=value)
    with pytest.raises(ValueError, match=r"unknown variant 'R18'; known variants: R17x0\.5, R50x1"):
        Backbone("R18")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BiT(SMALL, weights="imagenet", foo=1), r"BiT\(\) has no argument 'weights': BiT.from_preset\("),
        (lambda: BiT(SMALL, 3, foo=1), r"BiT\(\) has no argument 'foo'$"),
        (lambda: BiT(SMALL, 3, num_class=3), "'num_class'; did you mean num_classes"),
        (lambda: Backbone(SMALL, num_classes=3), r"Backbone\(\) has no argument 'num_classes'"),
        (
            lambda: BiT.from_preset("BiT-mini-R17x0.5", num_class=3),
            "from_preset.*; did you mean num_classes",
        ),
    ],
)
def test_unknown_arguments_are_refused_by_name(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("name", ["include_top", "input_shape", "input_tensor", "pooling", "classes"])
@pytest.mark.parametrize("kind", [functools.partial(BiT, num_classes=3), Backbone])
def test_arguments_of_keras_applications_are_answered_with_what_to_do(kind, name):
    with pytest.raises(TypeError, match=f"has no argument '{name}': "):
        kind(SMALL, **{name: None})


def test_one_step_trains_every_weight(golden_npz):
    model = BiT.from_preset(golden_npz, variant=SMALL)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    before = model.get_weights()
    model.train_on_batch(_images(4, 33, 47), np.array([0, 1, 2, 3]))
    after = model.get_weights()
    assert not [weight.path for weight, a, b in zip(model.weights, before, after) if np.array_equal(a, b)]


# Rounding error of the policy, amplified by 17 layers.
TOLERANCES = {"mixed_float16": 5e-3, "float16": 5e-3, "mixed_bfloat16": 4e-2, "bfloat16": 4e-2, "float64": 1e-5}


@pytest.mark.parametrize(
    "policy", [pytest.param("mixed_bfloat16", marks=any_backend), "mixed_float16", "bfloat16", "float16", "float64"]
)
def test_dtype_policies(golden_npz, golden_activations, policy):
    model = BiT.from_preset(golden_npz, variant=SMALL, dtype=policy)
    policy = keras.dtype_policies.get(policy)
    assert model.dtype_policy == model.backbone.dtype_policy == policy
    assert {weight.dtype for weight in model.weights} == {policy.variable_dtype}
    convolution = model.backbone.get_layer("block1_unit01_b_standardized_conv2d")
    assert convolution.compute_dtype == policy.compute_dtype
    # Features and logits are float32 under a mixed policy.
    assert model.output.dtype == model.backbone.output.dtype == policy.variable_dtype
    logits = _predict(model, golden_activations["image"])
    error = _error(logits, golden_activations["logits"])
    assert error < TOLERANCES[policy.name], f"{policy.name} differs by {error:.2e} of the scale"


def test_global_dtype_policy_is_the_default():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = BiT(SMALL, num_classes=3)
    finally:
        keras.config.set_dtype_policy(before)
    assert (
        model.dtype_policy.name == model.backbone.get_layer("block1_unit01_add").dtype_policy.name == "mixed_bfloat16"
    )
    assert model.get_layer("head").dtype_policy.name == "float32"


@pytest.mark.parametrize("policy", ["float32", pytest.param("mixed_bfloat16", marks=any_backend)])
def test_keras_file_round_trip(golden_npz, tmp_path, policy):
    model = BiT.from_preset(golden_npz, variant=SMALL, dtype=policy)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is BiT
    assert type(loaded.backbone) is Backbone
    assert loaded.get_config() == model.get_config()
    assert loaded.backbone.get_config() == model.backbone.get_config()
    assert loaded.dtype_policy == loaded.backbone.dtype_policy == model.dtype_policy
    assert (loaded.variant, loaded.num_classes) == (model.variant, 10)
    assert list(loaded.backbone.pyramid_outputs) == STAGES
    assert _weights_equal(loaded, model)
    if policy == "float32":
        images = _images(2, 40, 33)
        np.testing.assert_array_equal(_predict(loaded, images), _predict(model, images))


def test_the_resolution_of_the_weights_is_that_of_their_run_and_of_their_head(golden, tmp_path):
    (tmp_path / "config.json").write_text('{"resolution": 64, "data": {}, "backend": "jax"}')
    bit_keras.save_npz(golden, tmp_path / "weights.npz")
    assert BiT.from_preset(tmp_path / "weights.npz").resolution == 64
    assert BiT.from_preset(tmp_path / "weights.npz", num_classes=3).resolution is None
    assert BiT.from_preset("BiT-mini-R17x0.5").resolution == PRESETS["BiT-mini-R17x0.5"].training_resolution


def test_a_keras_file_remembers_the_resolution_of_the_weights(golden, tmp_path):
    assert golden.resolution is None
    model = BiT(SMALL, 3)
    model.resolution = 64
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").resolution == 64
    older = {name: value for name, value in model.get_config().items() if name != "card"}
    assert BiT.from_config(older).resolution is None
    assert BiT.from_config({**older, "resolution": 64}).resolution == 64


def test_backbone_alone_makes_a_keras_file_round_trip(golden, tmp_path):
    golden.backbone.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")
    assert type(loaded) is Backbone
    assert _weights_equal(loaded, golden.backbone)


def _freeze_backbone(model):
    model.backbone.trainable = False


def _freeze_stem_and_a_unit(model):
    model.backbone.get_layer("root_block_standardized_conv2d").trainable = False
    model.backbone.get_layer("block3_unit01_a_group_norm").trainable = False


def _freeze_head(model):
    model.get_layer("head").trainable = False


def _freeze_all(model):
    model.trainable = False


@pytest.mark.parametrize("freeze", [_freeze_backbone, _freeze_stem_and_a_unit, _freeze_head, _freeze_all])
def test_frozen_layers_stay_frozen_in_a_keras_file(freeze, tmp_path):
    model = BiT(SMALL, num_classes=3, name="renamed")
    freeze(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    trainable = [weight.path for weight in model.trainable_weights]
    assert 0 <= len(trainable) < len(model.weights)
    assert [weight.path for weight in loaded.trainable_weights] == trainable
    assert loaded.backbone.trainable == model.backbone.trainable


@any_backend
def test_weights_file_round_trip(golden, tmp_path):
    golden.save_weights(tmp_path / "model.weights.h5")
    model = BiT(SMALL, num_classes=10)
    assert not _weights_equal(model, golden)
    model.load_weights(tmp_path / "model.weights.h5")
    assert _weights_equal(model, golden)


@any_backend
def test_npz_round_trip(golden, golden_npz, tmp_path):
    bit_keras.save_npz(golden, tmp_path / "model.npz")
    written, official = read_npz(tmp_path / "model.npz"), read_npz(golden_npz)
    assert set(written) == set(official)
    assert all(np.array_equal(written[key], official[key]) for key in official)
    model = BiT(SMALL, num_classes=10)
    bit_keras.load_weights(model, tmp_path / "model.npz")
    assert _weights_equal(model, golden)


def test_load_weights_can_leave_the_head_alone(golden, golden_npz):
    model = BiT(SMALL, num_classes=3)
    with pytest.raises(CheckpointError, match="! resnet/head/conv2d/bias"):
        bit_keras.load_weights(model, golden_npz)
    bit_keras.load_weights(model, golden_npz, skip_head=True)
    assert _weights_equal(model.backbone, golden.backbone)
    assert not any(weight.any() for weight in model.get_layer("head").get_weights())


@any_backend
def test_from_preset_with_a_new_head(golden_npz, golden):
    for num_classes in (4, 10):
        model = BiT.from_preset(str(golden_npz), num_classes=num_classes, variant=SMALL)
        assert model.num_classes == num_classes
        assert not any(weight.any() for weight in model.get_layer("head").get_weights())
        assert _weights_equal(model.backbone, golden.backbone)


def test_from_preset_without_a_head_in_the_file(golden_npz, tmp_path):
    arrays = {key: value for key, value in read_npz(golden_npz).items() if "/head/" not in key}
    np.savez(tmp_path / "headless.npz", **arrays)
    assert BiT.from_preset(tmp_path / "headless.npz", num_classes=3, variant=SMALL).num_classes == 3
    with pytest.raises(CheckpointError, match="holds no head: give num_classes="):
        BiT.from_preset(tmp_path / "headless.npz", variant=SMALL)


def test_from_preset_needs_the_right_variant(golden_npz, monkeypatch):
    # R50x1 itself takes seconds to build.
    monkeypatch.setitem(VARIANTS, "other", Variant("other", 0.5, (1, 2, 2, 1), 0))
    with pytest.raises(CheckpointError, match=f"{golden_npz} holds R17x0.5, not other"):
        BiT.from_preset(golden_npz, variant="other")
    with pytest.raises(ValueError, match="unknown variant 'R18'"):
        BiT.from_preset(golden_npz, variant="R18")


def test_the_variant_is_read_off_the_shapes(golden_npz, golden):
    model = BiT.from_preset(golden_npz)
    assert model.variant_name == SMALL
    assert _weights_equal(model, golden)


@pytest.mark.parametrize("name", ["BiT-mini-R17x0.5", "package://weights/BiT-mini-R17x0.5.npz"])
def test_load_weights_takes_names_and_addresses(name):
    model = BiT(SMALL, 360)
    bit_keras.load_weights(model, name)
    assert _weights_equal(model, BiT.from_preset(name))


def test_addresses_that_are_not_served(golden):
    for load in (BiT.from_preset, lambda name: bit_keras.load_weights(golden, name)):
        with pytest.raises(ValueError, match=r"an address must begin with http://, .* got 's3://bucket/w\.npz'"):
            load("s3://bucket/w.npz")


def test_load_weights_of_another_variant(golden_npz, monkeypatch):
    monkeypatch.setitem(VARIANTS, "other", Variant("other", 0.5, (1, 2, 2, 1), 0))
    with pytest.raises(CheckpointError, match=f"{golden_npz} holds R17x0.5, not other"):
        bit_keras.load_weights(BiT("other", 10), golden_npz)


def test_unknown_names_and_other_directories(tmp_path):
    for name in ("BiT-L-R50x1", "weights.npz"):
        with pytest.raises(ValueError, match=f"no file is called '{name}': unknown preset"):
            BiT.from_preset(name)
    with pytest.raises(FileNotFoundError, match=r"is a folder without weights: .* saved_model\.pb"):
        BiT.from_preset(tmp_path)


def test_preset_and_variant_must_agree():
    with pytest.raises(ValueError, match="preset BiT-M-R50x1 is variant R50x1, got variant='R101x1'"):
        BiT.from_preset("BiT-M-R50x1", variant="R101x1")


@pytest.fixture
def golden_url(golden_npz, serve, tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("KERAS_HOME", os.fspath(tmp_path / "home"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=golden_npz.parent)
    return f"{serve(handler)}/{golden_npz.name}"


def test_from_preset_of_an_address(golden_url, golden, tmp_path):
    assert _weights_equal(BiT.from_preset(golden_url, variant=SMALL), golden)
    assert list((tmp_path / "home").rglob("*.npz"))
    with pytest.raises(ConnectionError, match="404"):
        BiT.from_preset(f"{golden_url}.npz", variant=SMALL)


def test_from_preset_refuses_a_variant_before_it_downloads(golden_url, tmp_path):
    with pytest.raises(ValueError, match="unknown variant 'R18'"):
        BiT.from_preset(golden_url, variant="R18")
    assert not (tmp_path / "home").exists()


def test_from_preset_of_a_published_name(golden_url, golden, monkeypatch):
    monkeypatch.setitem(PRESETS, "BiT-tiny", Preset("BiT-tiny", SMALL, "ImageNet-1k", 10, (WeightFile(golden_url),)))
    model = BiT.from_preset("BiT-tiny")
    assert (model.variant_name, model.num_classes) == (SMALL, 10)
    assert _weights_equal(model, golden)
    assert BiT.from_preset("BiT-tiny", num_classes=3, variant=SMALL, dtype="mixed_bfloat16").num_classes == 3
