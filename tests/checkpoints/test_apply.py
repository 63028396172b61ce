"""The strict assignment of arrays to a model."""

import keras
import numpy as np
import pytest

from bit_keras import BiT, load_weights, save_npz
from bit_keras.checkpoints import CheckpointError, apply_weights, collect_weights, read_npz

HEAD_KERNEL = "resnet/head/conv2d/kernel"
HEAD_BIAS = "resnet/head/conv2d/bias"
STEM = "resnet/root_block/standardized_conv2d/kernel"
GAMMA = "resnet/block3/unit01/b/group_norm/gamma"


@pytest.fixture(scope="module")
def model() -> BiT:
    return BiT("R17x0.5", num_classes=10)


@pytest.fixture
def arrays(golden_npz) -> dict[str, np.ndarray]:
    return read_npz(golden_npz)


def _refusal(model, arrays, skip_head: bool = False) -> list[str]:
    """Returns the lines of the error, and checks that the model is unchanged."""
    before = model.get_weights()
    with pytest.raises(CheckpointError) as caught:
        apply_weights(model, arrays, skip_head)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    return str(caught.value).splitlines()


@pytest.mark.any_backend
def test_round_trip_is_exact(model, arrays):
    apply_weights(model, arrays)
    collected = collect_weights(model)
    assert set(collected) == set(arrays)
    for key, array in arrays.items():
        assert (collected[key].dtype, collected[key].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(collected[key], array)


@pytest.mark.any_backend
def test_the_head_is_a_1x1_convolution_in_the_file(model, arrays):
    apply_weights(model, arrays)
    kernel, bias = model.get_layer("head").get_weights()
    np.testing.assert_array_equal(kernel, arrays[HEAD_KERNEL][0, 0])
    np.testing.assert_array_equal(bias, arrays[HEAD_BIAS])
    assert collect_weights(model)[HEAD_KERNEL].shape == (1, 1, 1024, 10)


def test_all_faults_are_listed_together(model, arrays):
    del arrays[STEM]
    del arrays[HEAD_BIAS]
    arrays["resnet/block5/unit01/a/group_norm/gamma"] = np.ones(3)
    arrays[GAMMA] = np.ones((2, 64))
    arrays[HEAD_KERNEL] = np.ones((1024, 10))  # a dense kernel, which no official npz file has
    first, *faults = _refusal(model, arrays)
    assert first == "the weights do not fit R17x0.5 with 10 classes (- missing, + unused, ! misshapen):"
    assert sorted(faults) == [
        f"! {GAMMA} is (2, 64), must be (128,)",
        f"! {HEAD_KERNEL} is (1024, 10), must be (1, 1, 1024, 10)",
        "+ resnet/block5/unit01/a/group_norm/gamma (3,)",
        f"- {HEAD_BIAS} (10,)",
        f"- {STEM} (7, 7, 3, 32)",
    ]


@pytest.mark.parametrize("key", [STEM, GAMMA, HEAD_KERNEL, "resnet/group_norm/beta"])
def test_each_kind_of_fault_alone(model, arrays, key):
    array = arrays.pop(key)
    assert _refusal(model, arrays)[1:] == [f"- {key} {array.shape}"]
    arrays[key] = array[..., :-1]
    assert _refusal(model, arrays)[1:] == [f"! {key} is {arrays[key].shape}, must be {array.shape}"]
    arrays[key] = array
    arrays[f"{key}_1"] = array
    assert _refusal(model, arrays)[1:] == [f"+ {key}_1 {array.shape}"]


def test_shapes_of_equal_size_are_not_the_same(model, arrays):
    arrays[STEM] = arrays[STEM].transpose(3, 2, 0, 1)  # PyTorch's layout of kernels
    assert _refusal(model, arrays)[1:] == [f"! {STEM} is (32, 3, 7, 7), must be (7, 7, 3, 32)"]


def test_no_arrays_at_all(model, arrays):
    assert len(_refusal(model, {})) == 1 + len(arrays)


@pytest.mark.any_backend
def test_only_the_head_may_be_skipped(arrays):
    model = BiT("R17x0.5", num_classes=3)
    assert _refusal(model, arrays)[1:] == [
        f"! {HEAD_KERNEL} is (1, 1, 1024, 10), must be (1, 1, 1024, 3)",
        f"! {HEAD_BIAS} is (10,), must be (3,)",
    ]
    kernel = arrays.pop(GAMMA)
    assert _refusal(model, arrays, skip_head=True)[1:] == [f"- {GAMMA} (128,)"]
    arrays[GAMMA] = kernel
    apply_weights(model, arrays, skip_head=True)
    collected = collect_weights(model)
    for key, array in arrays.items():
        if "/head/" in key:
            assert not collected[key].any()
        else:
            np.testing.assert_array_equal(collected[key], array)


def test_arrays_without_a_head(model, arrays):
    headless = {key: array for key, array in arrays.items() if "/head/" not in key}
    assert [line[:2] for line in _refusal(model, headless)[1:]] == ["- ", "- "]
    apply_weights(model, headless, skip_head=True)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_half_precision_is_collected_as_float32(golden_npz, policy):
    model = BiT.from_preset(golden_npz, variant="R17x0.5", dtype=policy)
    collected = collect_weights(model)
    assert {array.dtype for array in collected.values()} == {np.dtype("float32")}
    rounding = 2**-8 if policy == "bfloat16" else 0
    for key, array in read_npz(golden_npz).items():
        np.testing.assert_allclose(collected[key], array, rtol=rounding, atol=0)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("policy", "number", "dtype"),
    [("float32", 1e39, "float64"), ("float16", 7e4, "float32"), ("bfloat16", 3.4e38, "float32")],
)
def test_numbers_beyond_the_data_type_of_the_model(tiny, tiny_npz, policy, number, dtype):
    model, arrays = BiT("tiny", num_classes=10, dtype=policy), read_npz(tiny_npz)
    arrays["resnet/group_norm/gamma"] = arrays["resnet/group_norm/gamma"].astype(dtype)
    arrays["resnet/group_norm/gamma"][3] = -number
    (line,) = _refusal(model, arrays)
    assert line == f"resnet/group_norm/gamma holds {number:.3g}, which is too large for the model's {policy}"
    arrays["resnet/group_norm/gamma"][3] = -6e4
    apply_weights(model, arrays)
    assert np.isfinite(collect_weights(model)["resnet/group_norm/gamma"]).all()


@pytest.mark.any_backend
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_lora_is_merged(tiny, tiny_npz, tmp_path, policy):
    model = BiT.from_preset(tiny_npz, dtype=policy)
    head, images = model.get_layer("head"), np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3))
    kernel = np.asarray(head.get_weights()[0])
    head.enable_lora(2, lora_alpha=5)
    update = np.random.default_rng(1).normal(size=(2, 10)).astype("float32")
    head.lora_kernel_b.assign(update)
    collected = collect_weights(model)
    merged = kernel + 2.5 * keras.ops.convert_to_numpy(head.lora_kernel_a) @ update
    np.testing.assert_allclose(collected[HEAD_KERNEL][0, 0], merged, rtol=1e-5, atol=1e-6)
    assert not [key for key in collected if "lora" in key]
    save_npz(model, tmp_path / "lora.npz")
    again = BiT.from_preset(tmp_path / "lora.npz", dtype=policy)
    outputs = [keras.ops.convert_to_numpy(network(images.astype("float32"))) for network in (model, again)]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"load weights before enable_lora\(\), or with skip_head=True"):
        load_weights(model, tiny_npz)
    load_weights(model, tiny_npz, skip_head=True)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize")
@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_a_quantized_head_is_refused(tiny, tiny_npz, tmp_path, mode):
    model = BiT.from_preset(tiny_npz)
    model.get_layer("head").quantize(mode)
    with pytest.raises(
        ValueError, match=f"the head of the model is quantized to {mode}: write or load its weights bef"
    ):
        save_npz(model, tmp_path / "model.npz")
    with pytest.raises(ValueError, match=f"quantized to {mode}"):
        load_weights(model, tiny_npz)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_weights_to_write_must_be_finite(tiny, tiny_npz, tmp_path, number):
    model = BiT.from_preset(tiny_npz)
    model.get_layer("head").bias.assign(np.full(10, number, "float32"))
    with pytest.raises(ValueError, match=f"must be finite, got NaN or infinity in {HEAD_BIAS}: the training diverged"):
        save_npz(model, tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_other_models(tiny, tiny_npz, tmp_path):
    backbone = BiT("tiny", 3).backbone
    other = keras.Model(backbone.input, keras.layers.Dense(3)(backbone.output))
    for function in (save_npz, load_weights):
        with pytest.raises(TypeError, match=r"model must be a bit_keras\.BiT; got a value of type Functional"):
            function(other, tmp_path / "model.npz")


def test_arrays_in_float64_are_rounded(model, arrays):
    apply_weights(model, {key: array.astype("float64") for key, array in arrays.items()})
    assert all(np.array_equal(a, arrays[key]) for key, a in collect_weights(model).items())
