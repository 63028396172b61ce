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
        *("R17x0.5,8,256,detector", "R50x1,2,256,detector", "R50x1,4,256,detector", "R50x1,4,256,detector,remat"),
    ],
    "VARIANT,BATCH,SIDE and any of detector, remat, accumulate=N, freeze=STAGE and precision=POLICY, with commas.",
)
_CASE = re.compile(
    r"([^,]+),([1-9]\d*),([1-9]\d*)((?:,(?:detector|remat|accumulate=[1-9]\d*|freeze=\w+|precision=\w+))*)"
)
_NUM_CLASSES, _MAX_BOXES = 10, 20
# Makes allocators return freed memory to the system at once, so that resident memory is memory in use.
ALLOCATORS = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
_MEASURE = flags.DEFINE_string("measure", None, "Measure this case and print bytes; for the program itself.")


def parse(case: str) -> dict:
    """Returns the arguments of `measure`, from a case of the flag.

    Raises:
        ValueError: it has another form.
    """
    match = _CASE.fullmatch(case)
    if not match:
        raise ValueError(
            "case must be VARIANT,BATCH,SIDE and any of detector, remat, accumulate=N, freeze=STAGE and "
            f"precision=POLICY, got {case!r}"
        )
    variant, batch_size, side, options = match.groups()
    arguments = dict(option.split("=") if "=" in option else (option, True) for option in options.split(",")[1:])
    if "accumulate" in arguments:
        arguments["accumulate"] = int(arguments["accumulate"])
    return {"variant": variant, "batch_size": int(batch_size), "side": int(side), **arguments}


def measure(
    variant, batch_size, side, precision="float32", accumulate=1, freeze="none", remat=False, detector=False
) -> int:
    """Returns the bytes of a network and its optimizer, plus the peak increase of this process during two updates.

    Graphs compiled by the first update are not counted. The arguments are those of `estimate`.
    """
    from bit_keras import HyperRule
    from bit_keras.network.freezing import freeze as freeze_stages
    from bit_keras.rules import optimizers

    make = _detector if detector else _classifier
    model, losses, labels = make(variant, batch_size // accumulate, precision, remat)
    freeze_stages(model, freeze)
    model.compile(optimizers.optimizer(HyperRule(50_000, (128, 128)).schedule, accumulate=accumulate), **losses)
    images = np.zeros((batch_size // accumulate, side, side, 3), "float32")

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


def _classifier(variant, count: int, precision: str, remat: bool) -> tuple[keras.Model, dict, np.ndarray]:
    from bit_keras import BiT

    losses = {"loss": keras.losses.CategoricalCrossentropy(from_logits=True), "metrics": ["accuracy"]}
    labels = np.eye(_NUM_CLASSES, dtype="float32")[np.zeros(count, int)]
    return BiT(variant, _NUM_CLASSES, dtype=precision, remat=remat), losses, labels


def _detector(variant, count: int, precision: str, remat: bool) -> tuple[keras.Model, dict, dict]:
    from bit_keras.detection import Detector

    boxes = np.tile(np.float32([2, 2, 40, 50]), (count, _MAX_BOXES, 1))
    labels = {"boxes": boxes, "labels": np.zeros((count, _MAX_BOXES), "int32")}
    return Detector(variant, _NUM_CLASSES, dtype=precision, remat=remat), {}, labels


def estimate(variant, batch_size, side, detector=False, **options) -> int:
    """Returns the estimate of `--dry_run` in bytes.

    Args:
        variant: name of an architecture.
        batch_size, side, **options: of `estimate_memory` or, for a detector, of `estimate_detector_memory`.
        detector: whether it is that of a detector.
    """
    from bit_keras.detection.network.memory import estimate_detector_memory
    from bit_keras.network.memory import estimate_memory
    from bit_keras.zoo.variants import get_variant

    arguments = (get_variant(variant), _NUM_CLASSES, batch_size, side)
    if detector:
        memory = estimate_detector_memory(*arguments, **options, max_boxes=_MAX_BOXES)
    else:
        memory = estimate_memory(*arguments, **options)
    return memory.weights + memory.activations


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
    print(f"| {keras.backend.backend()} | measured | estimated | estimated / measured |\n|---|---|---|---|")
    for case in _CASES.value:
        estimated, measured = estimate(**parse(case)), _measure_in_child(case)
        row = f"{measured / 1e9:.2f} GB | {estimated / 1e9:.2f} GB | {estimated / measured:.2f}"
        print(f"| {case} | {row} |", flush=True)


if __name__ == "__main__":
    frame.run(main, "measure")
