"""Files of PyTorch's `torch.save`, which are pickles and never read: how to make a safetensors file of one."""

import re
import zipfile
from pathlib import Path

from bit_keras.checkpoints.checks import CheckpointError

# Of files that torch.save writes; a folder with no other weights is answered as one of them is.
ENDINGS = (".pth", ".pt", ".ckpt", ".pth.tar", ".bin")

_SCRIPT = """\
    import argparse
    import torch
    from safetensors.torch import save_file

    torch.serialization.add_safe_globals([argparse.Namespace])  # settings of the training, as timm adds them
    state = {}
    for file in %(files)r:
        state |= torch.load(file, map_location="cpu", weights_only=True)
    while any(isinstance(value, dict) for value in state.values()):  # such as {"step": 500, "model": {...}}
        state = next(state[key] for key in %(wrappers)r if key in state)
    tensors = {name: value.detach().contiguous().clone() for name, value in state.items()}
    save_file(tensors, %(output)r)"""
# Keys under which programs store the state dict of their network, in the order of preference.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")


def is_torch_zip(path: Path) -> bool:
    """Tells whether a zip archive is one of PyTorch."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(re.fullmatch(r"(.*/)?data\.pkl", name) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        return False


def is_pickle(start: bytes) -> bool:
    """Tells whether a file that begins with these bytes is a pickle, as torch.save wrote them before release 1.6."""
    return re.match(rb"\x80[\x02-\x05]", start) is not None


def refusal(*paths: Path) -> CheckpointError:
    """Returns the error for a file of PyTorch, or for its shards, with a program that makes a safetensors file."""
    name = re.sub(r"(-\d+-of-\d+)?(\.(pth|pt|ckpt|bin|tar|pkl|pickle|model|th|data))+$", "", paths[0].name)
    script = _SCRIPT % {
        "files": [str(path) for path in paths],
        "wrappers": _WRAPPERS,
        "output": f"{name}.safetensors",
    }
    return CheckpointError(
        f"{paths[0]} is a pickle, as torch.save writes it. A pickle can run any program when it is opened, so it is "
        "not read. PyTorch opens it safely with weights_only=True; this makes a safetensors file of it, to use instead "
        f"(pip install torch safetensors):\n\n{script}\n\n"
        "If torch.load refuses it, it holds more than tensors: save model.state_dict() in the program that made it"
    )
