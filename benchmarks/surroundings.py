"""What a contender runs in, apart from its code: packages, threads, allocator and environment variables."""

import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata

# {module: its package}
_PACKAGES = {
    **{name: name for name in ("tensorflow", "jax", "torch", "torchvision", "keras", "timm", "transformers")},
    **{"onnxruntime": "onnxruntime", "openvino": "openvino", "ai_edge_litert": "ai-edge-litert"},
}
_OF_ALLOCATOR = re.compile("MALLOC_|GLIBC_TUNABLES$|LD_PRELOAD$|TF_ONEDNN_USE_SYSTEM_ALLOCATOR$")
_RELEVANT = re.compile(
    _OF_ALLOCATOR.pattern
    + "|KERAS_BACKEND$|(TF|XLA|JAX|TORCH|TORCHINDUCTOR|OMP|GOMP|KMP|MKL|ONEDNN|DNNL|OPENBLAS)_(?!.*LOG)(?!CLI_CONFIG)"
)


def is_of_allocator(variable: str) -> bool:
    """Tells whether an environment variable is one of the allocator's."""
    return bool(_OF_ALLOCATOR.match(variable))


def describe() -> dict:
    """Returns what this process runs in: {"packages": text, "threads": text, "allocator": text, "variables": dict}."""
    loaded = [package for module, package in _PACKAGES.items() if module in sys.modules]
    return {
        "packages": ", ".join(f"{package} {metadata.version(package)}" for package in loaded),
        "threads": _threads(),
        "allocator": " ".join(platform.libc_ver()),
        "variables": {name: value for name, value in sorted(os.environ.items()) if _RELEVANT.match(name)},
    }


def _threads() -> str:
    """Returns the threads of this process, and how many torch and TensorFlow give to an operation."""
    found = [f"{len(os.listdir('/proc/self/task'))} in {len(os.sched_getaffinity(0))} cores"]
    if "torch" in sys.modules:
        found.append(f"torch {sys.modules['torch'].get_num_threads()}")
    if "tensorflow" in sys.modules:
        threading = sys.modules["tensorflow"].config.threading
        found.append(f"tensorflow {threading.get_intra_op_parallelism_threads() or 'one per core'}")
    return ", ".join(found)


def table(facts: Mapping[str, Mapping]) -> str:
    """Returns the surroundings of all contenders as Markdown: a table, and below it what they have in common.

    Args:
        facts: {name of a contender: facts}, from `contest.contest`.
    """
    found = {name: fact["surroundings"] for name, fact in facts.items()}
    settings = [set(described["variables"].items()) for described in found.values()]
    common = set.intersection(*settings)
    rows = [["contender", "packages", "threads", "variables"], ["---"] * 4]
    for name, described in found.items():
        own = dict(sorted(set(described["variables"].items()) - common))
        rows.append([name, described["packages"], described["threads"], _text(own)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    allocators = ", ".join(sorted({described["allocator"] for described in found.values()}))
    return "\n".join([*lines, "", f"All: {allocators}; {_text(dict(sorted(common))) or 'no variables'}"])


def _text(variables: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in variables.items())
