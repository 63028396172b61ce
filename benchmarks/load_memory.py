"""Program: memory and time that `BiT.from_preset` needs to load an npz file, measured in its own process.

Example:
    python -m benchmarks.load_memory --variant=R152x4
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
from absl import flags

from benchmarks import frame
from benchmarks.random_weights import write_random_npz

_VARIANT = flags.DEFINE_string("variant", "R152x4", "Architecture, with random weights.")
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 1000, "Outputs of the head.")
_LOAD = flags.DEFINE_string("load", None, "Load this file and print memory and time as JSON; for the program itself.")


def load(path: str) -> dict[str, float]:
    """Loads a file; returns the memory in bytes before, at the peak and after, the seconds, and the parameters."""
    from bit_keras import BiT

    BiT("R17x0.5", 2)  # excludes the memory and time that the libraries need once
    before, start = _memory(), time.monotonic()
    model = BiT.from_preset(path)
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"before": before, "peak": peak, "after": _memory(), "seconds": seconds, "parameters": model.count_params()}


def _memory() -> int:
    """Returns the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _measure(path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.load_memory", f"--load={path}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def main() -> None:
    if _LOAD.value:
        print(json.dumps(load(_LOAD.value)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.npz")
        size = write_random_npz(path, _VARIANT.value, _NUM_CLASSES.value)
        result = _measure(path)
    gigabytes = {name: result[name] / 1e9 for name in ("before", "peak", "after")}
    print(f"{_VARIANT.value}: {result['parameters']:,} parameters, {size / 1e9:.2f} GB of weights")
    print(f"  loaded in {result['seconds']:.1f} s on the {keras.backend.backend()} backend")
    print("  libraries {before:.2f} GB, peak {peak:.2f} GB, after {after:.2f} GB".format(**gigabytes))
    print(f"  peak / weights = {result['peak'] / size:.2f}")


if __name__ == "__main__":
    frame.run(main, "load")
