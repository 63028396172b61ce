"""Files of torch.save are refused with a program; it makes the right safetensors file of each kind."""

import argparse

import numpy as np
import pytest

from bit_keras.checkpoints import CheckpointError, read_weights
from bit_keras.checkpoints.readers.torch_names import timm_name
from tests.checkpoints.official import random_arrays

torch = pytest.importorskip("torch")

ARRAYS = random_arrays()


def _state(prefix: str = "") -> dict:
    """Returns a state dict of timm; its kernels are not contiguous, and two names share one tensor's memory."""
    tensors = {key: torch.from_numpy(array) for key, array in ARRAYS.items()}
    return {
        prefix + timm_name(key): tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else torch.nn.Parameter(tensor)
        for key, tensor in tensors.items()
    }


KINDS = {
    "plain.pth": lambda: _state(),
    "bit.pth.tar": lambda: {"step": 500, "model": _state("module."), "optim": {"state": {}, "param_groups": []}},
    "model_best.pth.tar": lambda: {
        **{"epoch": 3, "arch": "resnetv2_50x1_bit", "args": argparse.Namespace(lr=0.1)},
        **{"state_dict_ema": {"a": torch.ones(1)}, "state_dict": _state()},
    },
    "last.ckpt": lambda: {"state_dict": _state("model."), "callbacks": {}, "global_step": torch.tensor(3)},
    "nested.pt": lambda: {"model": {"state_dict": _state("_orig_mod.")}},
}


def _refusal(path) -> str:
    with pytest.raises(CheckpointError, match=r"is a pickle, as torch\.save writes it") as error:
        read_weights(path)
    return str(error.value)


def _run(message: str) -> None:
    exec("\n".join(line.removeprefix("    ") for line in message.split("\n\n", 1)[1].splitlines()[:-2]), {})


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("is_zip", [True, False])
def test_the_program_of_the_message(tmp_path, monkeypatch, name, is_zip):
    monkeypatch.chdir(tmp_path)
    torch.save(KINDS[name](), name, _use_new_zipfile_serialization=is_zip)
    _run(_refusal(name))
    read = read_weights(f"{name.partition('.')[0]}.safetensors")
    assert set(read) == set(ARRAYS)
    assert all(np.array_equal(read[key], ARRAYS[key]) for key in ARRAYS)


@pytest.mark.parametrize("by", ["pytorch_model.bin.index.json", "."])
def test_shards(tmp_path, monkeypatch, by):
    monkeypatch.chdir(tmp_path)
    state, files = _state(), [f"pytorch_model-0000{k}-of-00002.bin" for k in (1, 2)]
    for k, file in enumerate(files):
        torch.save(dict(list(state.items())[k::2]), file)
    torch.save({"state": {}}, "optimizer.pt")
    if by != ".":
        listed = ", ".join(f'"{name}": "{files[k % 2]}"' for k, name in enumerate(state))
        (tmp_path / by).write_text(f'{{"weight_map": {{{listed}}}}}')
    _run(_refusal(by))
    read = read_weights("pytorch_model.safetensors")
    assert all(np.array_equal(read[key], ARRAYS[key]) for key in ARRAYS)


def test_other_pickles(tmp_path):
    (tmp_path / "weights.pkl").write_bytes(b"\x80\x04N.")
    assert "can run any program when it is opened" in _refusal(tmp_path / "weights.pkl")
