"""Names of a BiT's tensors in timm, transformers and the official PyTorch code, and within wrappers of these."""

import dataclasses
import re
from collections.abc import Iterable

from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.names import HEAD_PATH, weight_key
from bit_keras.system.logs import logger

_STEM_PATH = "root_block/standardized_conv2d"
_CONVOLUTIONS = {"1": "a", "2": "b", "3": "c"}  # of a unit: number in PyTorch -> letter in the official files
# Levels that torch.compile and FSDP add at any depth.
_LEVELS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_SHOWN, _LETTERS = 5, 200  # most names in a message, and letters of each


@dataclasses.dataclass(frozen=True)
class Naming:
    """Names of the layers in one library; tensors are called LAYER.weight and LAYER.bias.

    Attributes:
        library: its name.
        stem, norm, head: names of the first convolution, the last normalization and the head.
        unit: pattern of a layer in a residual unit, with the groups block, unit, layer ("norm1" or "conv1") and
            projection.
        first: number of the first block and unit.
    """

    library: str
    stem: str
    norm: str
    head: str | None
    unit: str
    first: int = 0

    def official_key(self, name: str) -> str | None:
        """Returns the official key of a tensor, None if no BiT of this library has it."""
        layer, _, weight = name.rpartition(".")
        path = self._official_path(layer)
        if path is None or weight not in ("weight", "bias"):
            return None
        if path.endswith("group_norm"):
            return weight_key(path, "gamma" if weight == "weight" else "beta")
        if weight == "bias" and path != HEAD_PATH:
            return None
        return weight_key(path, "kernel" if weight == "weight" else "bias")

    def _official_path(self, layer: str) -> str | None:
        known = {self.stem: _STEM_PATH, self.norm: "group_norm", self.head: HEAD_PATH}
        match = re.fullmatch(self.unit, layer)
        if match is None:
            return known.get(layer)
        block, unit = (int(match[group]) + 1 - self.first for group in ("block", "unit"))
        prefix = f"block{block}/unit{unit:02d}"
        if match["projection"]:
            return f"{prefix}/a/proj/standardized_conv2d"
        kind, number = match["layer"][:-1], match["layer"][-1]
        return f"{prefix}/{_CONVOLUTIONS[number]}/{'standardized_conv2d' if kind == 'conv' else 'group_norm'}"


def _unit(prefix: str, norm: str, projection: str) -> str:
    return rf"{prefix}\.(?:(?P<layer>(?:{norm}|conv)[123])|(?P<projection>{projection}))"


_TRANSFORMERS_UNIT = _unit(r"encoder\.stages\.(?P<block>\d)\.layers\.(?P<unit>\d{1,3})", "norm", r"downsample\.conv")
TIMM = Naming(
    *("timm", "stem.conv", "norm", "head.fc"),
    _unit(r"stages\.(?P<block>\d)\.blocks\.(?P<unit>\d{1,3})", "norm", r"downsample\.conv"),
)
# BitForImageClassification and BitBackbone.
TRANSFORMERS = Naming(
    *("transformers", "bit.embedder.convolution", "bit.norm", "classifier.1"), rf"bit\.{_TRANSFORMERS_UNIT}"
)
# BitModel, which has no head.
TRANSFORMERS_BACKBONE = Naming("transformers", "embedder.convolution", "norm", None, _TRANSFORMERS_UNIT)
# github.com/google-research/big_transfer, bit_pytorch/models.py.
BIT_PYTORCH = Naming(
    *("bit_pytorch", "root.conv", "head.gn", "head.conv"),
    _unit(r"body\.block(?P<block>\d)\.unit(?P<unit>\d\d)", "gn", "downsample"),
    first=1,
)
# The first one whose stem fits is taken: the second name of transformers is the end of the first one.
_NAMINGS = (TIMM, TRANSFORMERS, TRANSFORMERS_BACKBONE, BIT_PYTORCH)


def without_levels(name: str) -> str:
    """Returns the name of a tensor without the levels that torch.compile ("_orig_mod.") and FSDP add at any depth."""
    return _LEVELS.sub("", name)


def find_naming(path, tensors: Iterable[str]) -> tuple[Naming, str]:
    """Returns whose names the tensors of a file have, and the prefix of all of them, such as "module." or "".

    Wrappers add prefixes: DataParallel "module.", Lightning the name of an attribute.

    Args:
        path: the file, for messages.
        tensors: names of all its tensors, `without_levels`.

    Raises:
        CheckpointError: there is no stem of a BiT, or there are several of them.
    """
    names, stems = sorted(tensors), {}
    for name in names:
        for naming in _NAMINGS:
            stem = f"{naming.stem}.weight"
            if name == stem or name.endswith(f".{stem}"):
                stems[name.removesuffix(stem)] = naming
                break
    if not stems:
        raise CheckpointError(
            f"{path} holds no BiT: it must have the tensor {TIMM.stem}.weight (timm), "
            f"{TRANSFORMERS.stem}.weight or {TRANSFORMERS_BACKBONE.stem}.weight (transformers) or "
            f"{BIT_PYTORCH.stem}.weight (bit_pytorch); it has {_shown(names)}"
        )
    if len(stems) > 1:
        first, *others = sorted(stems, key=lambda prefix: ("ema" in prefix.lower(), prefix))
        condition = f"name.startswith({first!r})" if first else f"not name.startswith({tuple(others)!r})"
        raise CheckpointError(
            f"{path} holds {len(stems)} networks, whose names begin with {' and '.join(map(repr, sorted(stems)))}; "
            f"which of them is meant is not guessed. {_way_out(path, condition)}"
        )
    ((prefix, naming),) = stems.items()
    return naming, prefix


def official_keys(path, tensors: Iterable[str]) -> dict[str, str]:
    """Returns {name of a tensor: official key} for all tensors of a file.

    Raises:
        CheckpointError: as `find_naming`; or a tensor is not one of a BiT, or has the same key as another one.
    """
    plain = {name: without_levels(name) for name in sorted(tensors)}
    naming, prefix = find_naming(path, plain.values())
    keys = {
        name: naming.official_key(each.removeprefix(prefix)) if each.startswith(prefix) else None
        for name, each in plain.items()
    }
    unknown = [name for name, key in keys.items() if key is None]
    if unknown:
        whose = f", whose names begin with {prefix!r}" if prefix else ""
        raise CheckpointError(
            f"{path}: not tensors of a BiT of {naming.library}{whose}: {_shown(unknown)}{_without(path, keys, prefix)}"
        )
    if prefix:
        logger.info("%s: all names begin with %r, which is left out", path, prefix)
    seen = {}
    for name, key in keys.items():
        if key in seen:
            raise CheckpointError(f"{path}: two tensors have the official key {key}, {seen[key]} and {name}")
        seen[key] = name
    return keys


def timm_name(key: str) -> str:
    """Returns timm's name of the tensor with an official key."""
    path, _, weight = key.removeprefix("resnet/").rpartition("/")
    suffix = "weight" if weight in ("kernel", "gamma") else "bias"
    known = {_STEM_PATH: TIMM.stem, "group_norm": TIMM.norm, HEAD_PATH: TIMM.head}
    if path in known:
        return f"{known[path]}.{suffix}"
    block, unit, letter, *rest = path.split("/")
    prefix = f"stages.{int(block.removeprefix('block')) - 1}.blocks.{int(unit.removeprefix('unit')) - 1}"
    if rest[0] == "proj":
        return f"{prefix}.downsample.conv.{suffix}"
    number = next(number for number, each in _CONVOLUTIONS.items() if each == letter)
    return f"{prefix}.{'norm' if rest == ['group_norm'] else 'conv'}{number}.{suffix}"


def _shown(names: list[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(name[:_LETTERS] for name in names[:_SHOWN])
    return shown + (f" and {more:,} more" if more > 0 else "") if names else "none"


def _without(path, keys: dict[str, str | None], prefix: str) -> str:
    """Returns the end of a message: how to leave out the tensors without a key, "" if their names do not tell them."""
    if prefix:
        condition = f"name.startswith({prefix!r})"
        tells = all(name.startswith(prefix) == (key is not None) for name, key in keys.items())
        return f". {_way_out(path, condition)}" if tells else ""
    first = sorted({name.partition(".")[0] for name, key in keys.items() if key is None})
    if any(key is not None and name.partition(".")[0] in first for name, key in keys.items()):
        return ""
    condition = f'name.partition(".")[0] not in {first!r}'
    return f". {_way_out(path, condition)}"


def _way_out(path, condition: str) -> str:
    return (
        "Leave out what is not the network, such as copies, optimizers and losses:\n"
        "    from safetensors.torch import load_file, save_file\n\n"
        f"    state = load_file({str(path)!r})\n"
        f'    save_file({{name: state[name] for name in state if {condition}}}, "network.safetensors")'
    )
