"""Program: peak memory of training steps, each measured in its own process, and the estimate of `--dry_run`.

Example:
    python -m benchmarks.step_memory --case=R50x1,16,128 --case=R50x1,16,128,remat --case=R50x1,64,128,accumulate=4
"""

import ctypes
import gc
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from absl import flags

from benchmarks import frame

_CASES = flags.DEFINE_multi_string(
    "case",
    [
        *("R17x0.5,64,32", "R17x0.5,256,32", "R17x0.5,256,32,remat"),
        *("R50x1,8,128", "R50x1,32,128", "R50x1,32,128,remat", "R50x1,32,128,accumulate=4"),
        *("R50x1,32,128,freeze=block2", "R50x1,16,128,precision=mixed_bfloat16"),
    ],
    "VARIANT,BATCH,CROP and any of remat, accumulate=N, freeze=STAGE and precision=POLICY, separated by commas.",
)
_CASE = re.compile(r"([^,]+),([1-9]\d*),([1-9]\d*)((?:,(?:remat|accumulate=[1-9]\d*|freeze=\w+|precision=\w+))*)")
_NUM_CLASSES = 10
# Makes allocators return freed memory to the system at once, so that resident memory is memory in use.
ALLOCATORS = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
_MEASURE = flags.DEFINE_string("measure", None, "Measure this case and print bytes; for the program itself.")


def parse(case: str) -> dict:
    """Returns the arguments of `estimate_memory` except the number of classes, from a case of the flag.

    Raises:
        ValueError: it has another form.
    """
    match = _CASE.fullmatch(case)
    if not match:
        raise ValueError(
            "case must be VARIANT,BATCH,CROP and any of remat, accumulate=N, freeze=STAGE and precision=POLICY, got "
            f"{case!r}"
        )
    variant, batch_size, crop, options = match.groups()
    arguments = dict(option.split("=") if "=" in option else (option, True) for option in options.split(",")[1:])
    if "accumulate" in arguments:
        arguments["accumulate"] = int(arguments["accumulate"])
    return {"variant": variant, "batch_size": int(batch_size), "crop": int(crop), **arguments}


def measure(variant, batch_size, crop, precision="float32", accumulate=1, freeze="none", remat=False) -> int:
    """Returns the bytes of a network and its optimizer, plus the peak increase of this process during two updates.

    Graphs compiled by the first update are not counted. The arguments are those of `estimate_memory`.
    """
    from bit_keras import BiT, HyperRule
    from bit_keras.network.freezing import freeze as freeze_stages
    from bit_keras.rules import optimizers

    model = BiT(variant, _NUM_CLASSES, dtype=precision, remat=remat)
    freeze_stages(model, freeze)
    optimizer = optimizers.optimizer(HyperRule(50_000, (crop, crop)).schedule, accumulate=accumulate)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

    images = np.zeros((batch_size // accumulate, crop, crop, 3), "float32")
    labels = np.eye(_NUM_CLASSES, dtype="float32")[np.zeros(len(images), int)]

    def update():
        for _ in range(accumulate):
            model.train_on_batch(images, labels)

    update()  # compiles graphs and programs
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current memory
    for _ in range(2):
        update()
    state = 4 * sum(math.prod(variable.shape) for variable in [*model.variables, *model.optimizer.variables])
    return state + status("VmHWM") - before


def peak(step: Callable) -> int:
    """Returns the peak increase of the memory of this process during two steps, in bytes."""
    getattr(step, "release", lambda: None)()  # torch's gradients stay in memory between steps
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current memory
    step()
    step()
    return status("VmHWM") - before


def status(name: str) -> int:
    """Returns the value of a line of /proc/self/status in bytes, for example of "VmRSS"."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def _measure_in_child(case: str) -> int:
    command = [sys.executable, "-m", "benchmarks.step_memory", f"--measure={case}"]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **ALLOCATORS})
    return int(process.stdout.splitlines()[-1])


def main() -> None:
    if _MEASURE.value:
        print(measure(**parse(_MEASURE.value)))
        return
    from bit_keras.network.memory import estimate_memory
    from bit_keras.zoo.variants import get_variant

    rows = {case: (get_variant(parse(case)["variant"]), parse(case)) for case in _CASES.value}
    print(f"| {keras.backend.backend()} | measured | estimated | estimated / measured |\n|---|---|---|---|")
    for case, (variant, arguments) in rows.items():
        memory = estimate_memory(num_classes=_NUM_CLASSES, **{**arguments, "variant": variant})
        estimated, measured = memory.weights + memory.activations, _measure_in_child(case)
        print(
            f"| {case} | {measured / 1e9:.2f} GB | {estimated / 1e9:.2f} GB | {estimated / measured:.2f} |", flush=True
        )


if __name__ == "__main__":
    frame.run(main, "measure")
