"""Names of tensors in PyTorch's libraries; test_reference.py compares those of timm and transformers with these."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bit_keras.checkpoints import CheckpointError, read_weights, write_safetensors
from bit_keras.checkpoints.architecture import weight_shapes
from bit_keras.checkpoints.readers.torch_names import BIT_PYTORCH, TIMM, TRANSFORMERS, TRANSFORMERS_BACKBONE
from bit_keras.zoo.variants import VARIANTS
from tests.checkpoints.official import random_arrays

ARRAYS = random_arrays()
BLOCK2 = "resnet/block2/unit01"
# The first unit of the second block, and what surrounds the units.
NAMES = {
    "resnet/root_block/standardized_conv2d/kernel": (
        *("stem.conv.weight", "bit.embedder.convolution.weight", "root.conv.weight"),
    ),
    f"{BLOCK2}/a/group_norm/gamma": (
        *("stages.1.blocks.0.norm1.weight", "bit.encoder.stages.1.layers.0.norm1.weight"),
        "body.block2.unit01.gn1.weight",
    ),
    f"{BLOCK2}/b/group_norm/beta": (
        *("stages.1.blocks.0.norm2.bias", "bit.encoder.stages.1.layers.0.norm2.bias", "body.block2.unit01.gn2.bias"),
    ),
    f"{BLOCK2}/c/standardized_conv2d/kernel": (
        *("stages.1.blocks.0.conv3.weight", "bit.encoder.stages.1.layers.0.conv3.weight"),
        "body.block2.unit01.conv3.weight",
    ),
    f"{BLOCK2}/a/proj/standardized_conv2d/kernel": (
        *("stages.1.blocks.0.downsample.conv.weight", "bit.encoder.stages.1.layers.0.downsample.conv.weight"),
        "body.block2.unit01.downsample.weight",
    ),
    "resnet/group_norm/gamma": ("norm.weight", "bit.norm.weight", "head.gn.weight"),
    "resnet/group_norm/beta": ("norm.bias", "bit.norm.bias", "head.gn.bias"),
    "resnet/head/conv2d/kernel": ("head.fc.weight", "classifier.1.weight", "head.conv.weight"),
    "resnet/head/conv2d/bias": ("head.fc.bias", "classifier.1.bias", "head.conv.bias"),
}


@pytest.mark.parametrize("key", NAMES)
def test_names_in_three_libraries(key):
    found = [naming.official_key(name) for naming, name in zip((TIMM, TRANSFORMERS, BIT_PYTORCH), NAMES[key])]
    assert found == [key] * 3
    if "head" not in key:
        assert TRANSFORMERS_BACKBONE.official_key(NAMES[key][1].removeprefix("bit.")) == key


def _bit_pytorch_name(key: str) -> str:
    """Name in bit_pytorch/models.py, whose `load_from` takes the kernel of conv1 from a/standardized_conv2d."""
    path, _, weight = key.removeprefix("resnet/").rpartition("/")
    suffix = ".weight" if weight in ("kernel", "gamma") else ".bias"
    path = path.replace("a/proj/standardized_conv2d", "downsample").replace("head/conv2d", "head.conv")
    if path == "group_norm":
        return f"head.gn{suffix}"
    for number, letter in enumerate("abc", 1):
        path = path.replace(f"/{letter}/standardized_conv2d", f"/conv{number}")
        path = path.replace(f"/{letter}/group_norm", f"/gn{number}")
    path = path.replace("root_block/standardized_conv2d", "root.conv")
    return (f"body.{path}" if path.startswith("block") else path).replace("/", ".") + suffix


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_all_names_of_the_official_code(row):
    keys = list(weight_shapes(row, 10))
    assert [BIT_PYTORCH.official_key(_bit_pytorch_name(key)) for key in keys] == keys


@pytest.fixture
def tensors(tmp_path) -> dict[str, np.ndarray]:
    """A state dict of timm."""
    write_safetensors(ARRAYS, tmp_path / "written.safetensors")
    return load_file(tmp_path / "written.safetensors")


def _read(tensors, tmp_path) -> dict[str, np.ndarray]:
    save_file(tensors, tmp_path / "model.safetensors")
    return read_weights(tmp_path / "model.safetensors")


def _is_arrays(read) -> bool:
    return set(read) == set(ARRAYS) and all(np.array_equal(read[key], ARRAYS[key]) for key in ARRAYS)


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "net.backbone.0."])
def test_prefixes_of_wrappers_are_left_out_and_logged(tensors, tmp_path, caplog, prefix):
    caplog.set_level("INFO", "bit_keras")
    assert _is_arrays(_read({prefix + name: tensors[name] for name in tensors}, tmp_path))
    assert f"all names begin with '{prefix}', which is left out" in caplog.text


def _compiled(name: str) -> str:
    return name.replace("stages.", "stages._orig_mod.").replace(".conv1", "._fsdp_wrapped_module.conv1")


@pytest.mark.parametrize("rename", [lambda n: f"_orig_mod.{n}", lambda n: f"module._orig_mod.{n}", _compiled])
def test_levels_of_wrappers(tensors, tmp_path, rename):
    assert _is_arrays(_read({rename(name): tensors[name] for name in tensors}, tmp_path))
    twice = {**tensors, **{rename(name): tensors[name] for name in tensors}}
    with pytest.raises(CheckpointError, match=r"two tensors have the official key|holds 2 networks"):
        _read(twice, tmp_path)


def test_the_official_code_within_a_wrapper(tmp_path):
    tensors = {}
    for key, array in ARRAYS.items():
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        tensors[f"module.{_bit_pytorch_name(key)}"] = np.ascontiguousarray(array)
    assert _is_arrays(_read(tensors, tmp_path))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: {**t, **{f"ema.{n}": t[n] for n in t}}, "holds 2 networks, whose names begin with '' and 'ema.'"),
        (
            lambda t: {f"{copy}.{n}": t[n] for copy in ("model", "ema") for n in t},
            "holds 2 networks, whose names begin with 'ema.' and 'model.'",
        ),
        (
            lambda t: {**{f"model.{n}": t[n] for n in t}, "loss.weight": np.ones(3, "float32")},
            "not tensors of a BiT of timm, whose names begin with 'model.': loss.weight",
        ),
        (
            lambda t: {**t, **{f"optimizer.{k}": np.ones(3, "float32") for k in range(9)}},
            "optimizer.0, optimizer.1, optimizer.2, optimizer.3, optimizer.4 and 4 more",
        ),
        (lambda t: {**t, "num_batches_tracked": np.array([1])}, "not tensors of a BiT of timm: num_batches_tracked"),
    ],
)
def test_other_tensors_are_refused_with_a_program_that_leaves_them_out(tensors, tmp_path, monkeypatch, edit, words):
    pytest.importorskip("torch")
    with pytest.raises(CheckpointError) as error:
        _read(edit(tensors), tmp_path)
    message, program = str(error.value).split(":\n", 1)
    assert words in message
    monkeypatch.chdir(tmp_path)
    exec("\n".join(line.strip() for line in program.splitlines()), {})
    kept = read_weights("network.safetensors")
    assert _is_arrays(kept)


def test_tensors_that_their_names_do_not_tell_apart(tensors, tmp_path):
    tensors["stages.0.blocks.0.conv1.bias"] = np.ones(3, "float32")
    with pytest.raises(CheckpointError, match=r"not tensors of a BiT of timm: stages\.0\.blocks\.0\.conv1\.bias$"):
        _read(tensors, tmp_path)


def test_absurd_names(tensors, tmp_path):
    tensors[f"stages.0.blocks.{'9' * 5000}.norm1.weight"] = np.ones(3, "float32")
    with pytest.raises(CheckpointError, match=r"not tensors of a BiT of timm: stages\.0\.blocks\.9{184}$"):
        _read(tensors, tmp_path)


def test_other_networks(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no BiT: .* root\.conv\.weight \(bit_pyt.*; it has fc\.weight$"):
        _read({"fc.weight": np.ones(3, "float32")}, tmp_path)
