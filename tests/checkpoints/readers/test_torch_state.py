"""State dicts of timm and transformers; names and results are compared with these libraries."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from bit_keras import BiT, checkpoints
from bit_keras.checkpoints import CheckpointError, read_npz, read_weights, write_safetensors
from bit_keras.checkpoints.architecture import weight_shapes
from bit_keras.checkpoints.readers.torch_names import TIMM, timm_name
from bit_keras.zoo.variants import VARIANTS

KERNEL = "stages.0.blocks.0.conv2.weight"
GAMMA = "stages.0.blocks.0.norm2.weight"


@pytest.fixture
def path(golden_npz, tmp_path) -> Path:
    write_safetensors(read_npz(golden_npz), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def _same(a: dict, b: dict) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[key], b[key]) for key in b)


def test_round_trip_is_exact(path, golden_npz):
    assert _same(read_weights(path), read_npz(golden_npz))


def test_kernels_are_transposed(path, golden_npz):
    tensors = safetensors.numpy.load_file(path)
    kernel = read_npz(golden_npz)["resnet/block1/unit01/b/standardized_conv2d/kernel"]
    assert tensors[KERNEL][5, 7, 1, 2] == kernel[1, 2, 7, 5]
    assert tensors["head.fc.weight"].shape == (10, 1024, 1, 1)


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_names_map_both_ways(row):
    keys = list(weight_shapes(row, 10))
    assert [TIMM.official_key(timm_name(key)) for key in keys] == keys


@pytest.mark.parametrize("name", ["stem.conv.bias", "stages.0.blocks.0.conv1.bias", "fc.weight", "", "norm"])
def test_other_names_mean_nothing(name):
    assert TIMM.official_key(name) is None


def _write(path, edit) -> None:
    tensors = safetensors.numpy.load_file(path)
    edit(tensors)
    safetensors.numpy.save_file(tensors, path)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.update(fc=np.ones(3, "float32")), r"not tensors of a BiT of timm: fc\. Leave out"),
        (
            lambda t: t.update({"stages.0.blocks.00.norm2.weight": np.ones(10, "float32")}),
            "two tensors have the official key resnet/block1/unit01/b/group_norm/gamma",
        ),
        (lambda t: t.update({GAMMA: np.ones(32, "int32")}), "must be one of F64, F32, F16, BF16, got I32"),
        (lambda t: t.update({GAMMA: np.full(32, np.nan, "float32")}), "must be finite"),
    ],
)
def test_what_is_wrong_is_named(path, edit, words):
    _write(path, edit)
    with pytest.raises(CheckpointError, match=words):
        read_weights(path)


def test_missing_and_misshapen_tensors_are_listed_by_the_model(path):
    _write(path, lambda t: t.update({KERNEL: np.ones((32, 32, 1, 3), "float32")}) or t.pop(GAMMA))
    with pytest.raises(CheckpointError) as caught:
        BiT.from_preset(path)
    assert "! resnet/block1/unit01/b/standardized_conv2d/kernel is (1, 3, 32, 32)" in str(caught.value)
    assert "- resnet/block1/unit01/b/group_norm/gamma (32,)" in str(caught.value)


@pytest.mark.parametrize(("dtype", "rounding"), [("float16", 2**-10), ("bfloat16", 2**-8), ("float64", 0)])
def test_other_precisions(golden_npz, tmp_path, dtype, rounding):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    golden = read_npz(golden_npz)
    write_safetensors({key: array.astype(kind) for key, array in golden.items()}, tmp_path / "half.safetensors")
    arrays = read_weights(tmp_path / "half.safetensors")
    assert {array.dtype.name for array in arrays.values()} == {"float64" if dtype == "float64" else "float32"}
    for key, array in golden.items():
        np.testing.assert_allclose(arrays[key], array, rtol=rounding, atol=1e-7)


@pytest.mark.parametrize("fraction", [0.0001, 0.5, 0.999])
def test_truncated_files(path, fraction):
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CheckpointError, match="no readable safetensors file"):
        read_weights(path)


def test_absurd_headers(path):
    header = json.dumps({"norm.weight": {"dtype": "F32", "shape": [2**50], "data_offsets": [0, 2**52]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(CheckpointError, match="no readable safetensors file"):
        read_weights(path)
    path.write_bytes((2**60).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="no readable safetensors file"):
        read_weights(path)


def test_without_the_package(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install 'bit-keras\[safetensors\]'"):
        read_weights(path)
    with pytest.raises(ImportError, match=r"pip install 'bit-keras\[safetensors\]'"):
        write_safetensors({}, path)


def test_wrong_suffix(tmp_path):
    with pytest.raises(ValueError, match=r'must end in "\.safetensors", got'):
        checkpoints.write_safetensors({}, tmp_path / "weights.npz")
    assert not list(tmp_path.iterdir())
