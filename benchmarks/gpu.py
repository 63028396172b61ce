"""Program: what a GPU makes of BiT on jax, beside timm on torch, in less than eight minutes.

A training step of R50x1 and R101x3 at 224 and 480 pixels in half precision, compared with timm under autocast, channels
last, compiled; and `fit` with the HyperRule from images in memory, compared with its step alone. Weights are random.
Needs jax and torch for the GPU, timm and grain; without one of them its rows say so. TensorFlow is not needed.

Each case runs in its own process, one after the other, and is ended after its time. Cases for which no time remains are
left out, and the table says so. --tiny tries the program on a CPU, with a small network and few steps.

Example:
    KERAS_BACKEND=jax python -m benchmarks.gpu
    KERAS_BACKEND=jax python -m benchmarks.gpu --tiny
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from absl import flags

from benchmarks import frame
from benchmarks.chips import Chip, find_chip

TOTAL_SECONDS = 460  # for all cases together
CASE_SECONDS = 100  # at most, per case; most of it is compilation
LEAST_SECONDS = 20  # a case is not begun with less
NUM_CLASSES = 1000
BATCH_SIZES = (128, 64, 32, 16, 8, 4)
MEMORY_SHARE = 0.6  # of the GPU, that the estimate of `--dry_run` may take
PHOTO = 375, 500  # height and width of the images of `fit`, in pixels
OURS, TIMM, FIT, FIT_ARRAYS = "bit_keras", "timm compiled", "fit, from_arrays", "fit, arrays at size"
_NEEDS = {OURS: ("jax",), FIT_ARRAYS: ("jax",), FIT: ("jax", "grain"), TIMM: ("torch", "timm")}
_MARK = "result: "
_VARIANTS, _SIDES = ("R50x1", "R101x3"), (224, 480)
# In the order of importance, if the time is short.
CASES = (
    *((kind, "R50x1", 224) for kind in (OURS, TIMM)),
    *((kind, "R50x1", 480) for kind in (OURS, FIT, TIMM, FIT_ARRAYS)),
    *((kind, "R101x3", side) for side in _SIDES for kind in (OURS, TIMM)),
)
TINY = tuple((kind, "R17x0.5", 32) for kind in (OURS, TIMM, FIT, FIT_ARRAYS))


def _define_flags() -> None:
    flags.DEFINE_bool("tiny", False, "Try the program on a CPU, with a small network and few steps.")
    flags.DEFINE_string("case", None, "Run this case; for the program itself.")
    flags.DEFINE_integer("batch_size", None, "Images per step; by default what fits.", lower_bound=1)
    flags.DEFINE_enum("half", "bfloat16", ["bfloat16", "float16"], "For the program itself.")


def main() -> None:
    if flags.FLAGS.case:
        kind, variant, side = json.loads(flags.FLAGS.case)
        if kind == TIMM:
            _run_timm(variant, side)
        else:
            _run_ours(kind, variant, side)
        return
    name, memory = ("CPU", None) if flags.FLAGS.tiny else _gpu()
    chip = find_chip(name)
    print(f"{name}: {_facts(chip)}\n")
    columns = ("batch", "ms per step", "images/s", "share of the peak", "peak memory", "compilation")
    print(f"| case | {' | '.join(columns)} |\n|" + "---|" * (1 + len(columns)), flush=True)
    deadline = time.monotonic() + TOTAL_SECONDS
    for case in TINY if flags.FLAGS.tiny else CASES:
        half = chip.half if chip else "bfloat16"
        batch_size = flags.FLAGS.batch_size or (4 if memory is None else fitting(*case[1:], f"mixed_{half}", memory))
        print(f"| {row(case, batch_size, half, chip, deadline)} |", flush=True)


def _facts(chip: Chip | None) -> str:
    if chip is None:
        return "its peak is not known, so there is no share of it"
    return f"peak {chip.peak / 1e12:.0f} TFLOP/s in {chip.half} ({chip.source})"


def _gpu() -> tuple[str, int]:
    """Returns name and bytes of memory of the first GPU, from NVIDIA's driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        sys.exit("gpu needs an NVIDIA GPU, and nvidia-smi is not installed here; --tiny tries the program on a CPU")
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    first = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()[0]
    name, _, mebibytes = first.rpartition(", ")
    return name, int(mebibytes) * 2**20


def fitting(variant: str, side: int, precision: str, memory: int) -> int:
    """Returns the largest of `BATCH_SIZES` whose estimate fits into the memory of a GPU, in bytes."""
    from bit_keras.network.memory import estimate_memory
    from bit_keras.zoo.variants import get_variant

    for size in BATCH_SIZES:
        needed = estimate_memory(get_variant(variant), NUM_CLASSES, size, side, precision)
        if needed.weights + needed.activations <= MEMORY_SHARE * memory:
            return size
    return BATCH_SIZES[-1]


def row(case: tuple[str, str, int], batch_size: int, half: str, chip: Chip | None, deadline: float) -> str:
    """Runs a case in a process of its own and returns its row of the table.

    Args:
        case: kind, variant, and side of the images in pixels.
        batch_size: images per step.
        half: "bfloat16" or "float16".
        chip: for the share of its peak.
        deadline: on the clock of `time.monotonic`.
    """
    kind, variant, side = case
    label = f"{kind}, {variant}, {side} pixels"
    lacking = [name for name in _NEEDS[kind] if importlib.util.find_spec(name) is None]
    seconds = min(CASE_SECONDS, deadline - time.monotonic())
    if lacking:
        return f"{label} | left out: {', '.join(lacking)} not installed" + " | " * 5
    if seconds < LEAST_SECONDS:
        return f"{label} | left out: no time remained" + " | " * 5
    result, fault = _result(case, batch_size, half, seconds)
    if fault:
        return f"{label} | {batch_size}, {fault}" + " | " * 5
    rate = batch_size / result["seconds"]
    share = f"{3 * 2 * multiplications(variant, side) * rate / chip.peak:.0%}" if chip else ""
    memory = f"{result['memory'] / 1e9:.1f} GB" if result["memory"] else ""
    times = f"{1000 * result['seconds']:.1f} | {rate:.1f}"
    return f"{label} | {batch_size} | {times} | {share} | {memory} | {result['compilation']:.0f} s"


def _result(case: tuple, batch_size: int, half: str, seconds: float) -> tuple[dict | None, str | None]:
    """Returns the result of a case, or why there is none; after so many seconds its processes are ended."""
    command = [sys.executable, "-m", "benchmarks.gpu", f"--case={json.dumps(case)}", f"--batch_size={batch_size}"]
    command += [f"--half={half}", f"--tiny={flags.FLAGS.tiny}"]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}
    if flags.FLAGS.tiny:
        environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "process_group": 0}
    with subprocess.Popen(command, env=environment, **options) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None, f"not finished after {seconds:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # torch's compiler starts processes of its own
                os.killpg(process.pid, signal.SIGKILL)
    for line in out.splitlines():
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK)), None
    reasons = [line.strip() for line in err.splitlines() if line.strip()]
    return None, f"failed: {(reasons or ['no message'])[-1][:100]}".replace("|", "/")


def multiplications(variant: str, side: int) -> int:
    """Returns the multiplications of a forward pass per image, in convolutions and head."""
    from bit_keras.zoo.variants import get_variant

    network = get_variant(variant)
    side = -(-side // 2)
    found = side**2 * 7 * 7 * 3 * network.stem_filters
    side = -(-side // 2)
    for unit in network.unit_rows():
        found += side**2 * unit.inputs * unit.filters
        side = -(-side // unit.strides)
        found += side**2 * unit.filters * (9 * unit.filters + unit.outputs)
        found += side**2 * unit.inputs * unit.outputs * unit.has_projection
    return found + network.num_features * NUM_CLASSES


# What follows runs in the process of a case.


def _run_ours(kind: str, variant: str, side: int) -> None:
    import jax
    import keras

    import bit_keras
    from bit_keras.rules import MixUp

    if not flags.FLAGS.tiny and jax.default_backend() != "gpu":
        sys.exit(f"jax finds no GPU, only {jax.default_backend()}: install jax[cuda12] or jax[cuda13]")
    rule = bit_keras.HyperRule(50_000, PHOTO, batch_size=flags.FLAGS.batch_size)
    model = bit_keras.BiT(variant, NUM_CLASSES, dtype=f"mixed_{flags.FLAGS.half}")
    model.compile(rule.optimizer(), keras.losses.CategoricalCrossentropy(from_logits=True))
    if kind == OURS:
        seconds, compilation = _time(_step(model, side), *_repeats())
    else:
        callbacks = [callback for callback in rule.callbacks() if isinstance(callback, MixUp)]
        seconds, compilation = _fit(model, _photos(side) if kind == FIT else _endless(_arrays(side)), callbacks)
    memory = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    _report(seconds, compilation, memory)


def _step(model, side: int) -> Callable[[int], None]:
    """Returns a function that makes a number of training steps on one batch, which is on the device."""
    import jax

    images, labels = map(jax.numpy.asarray, (x[: flags.FLAGS.batch_size] for x in _arrays(side, batches=1)))
    model._symbolic_build(data_batch=(images, labels))  # as `fit` does: optimizer and metrics
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([variable.value for variable in group] for group in groups)
    step = jax.jit(model.train_step, donate_argnums=0)

    def run(count: int) -> None:
        nonlocal state
        for _ in range(count):
            logs, state = step(state, (images, labels))
        jax.block_until_ready((logs, state))

    return run


def _arrays(side: int, batches: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 images in [-1, 1] and one-hot labels."""
    random, count = np.random.default_rng(0), batches * flags.FLAGS.batch_size
    images = random.random((count, side, side, 3), np.float32) * 2 - 1
    return images, np.eye(NUM_CLASSES, dtype="float32")[random.integers(NUM_CLASSES, size=count)]


def _endless(arrays: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple]:
    """Yields the batches in arrays again and again, views of them."""
    size = flags.FLAGS.batch_size
    while True:
        for start in range(0, len(arrays[0]), size):
            yield tuple(array[start : start + size] for array in arrays)


def _photos(side: int):
    """Returns batches of a source in memory, which grain crops and flips as the HyperRule says."""
    from bit_keras import data

    random, count = np.random.default_rng(0), 2 * flags.FLAGS.batch_size
    images = random.integers(0, 256, (count, *PHOTO, 3), np.uint8)
    labels = np.arange(count) % NUM_CLASSES
    names = [f"class {k}" for k in range(NUM_CLASSES)]
    source = data.from_arrays(images, labels, images[:1], labels[:1], class_names=names)
    options = {"resize": side * 512 // 480, "crop": side, "seed": 0, "loader": "grain"}
    return data.train_batches(source, batch_size=flags.FLAGS.batch_size, **options)


def _fit(model, batches, callbacks: list) -> tuple[float, float]:
    """Returns the seconds per step of the second epoch of a `fit`, and those of the first epoch, with compilation."""
    import keras

    rounds, calls = _repeats()
    times = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: times.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: times.append(time.perf_counter()),
    )
    options = {"epochs": 2, "callbacks": [*callbacks, clock], "shuffle": False, "verbose": 0}
    model.fit(batches, steps_per_epoch=rounds * calls, **options)
    first, first_end, second, second_end = times
    return (second_end - second) / (rounds * calls), first_end - first


def _run_timm(variant: str, side: int) -> None:
    import torch

    from benchmarks import networks

    device = "cpu" if flags.FLAGS.tiny else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU: install its build for CUDA")
    module = networks.timm(NUM_CLASSES, "R50x1" if flags.FLAGS.tiny else variant).train()
    module = module.to(device, memory_format=torch.channels_last)
    call = module if flags.FLAGS.tiny else torch.compile(module)  # compiled for a CPU it takes minutes
    images, labels = (torch.from_numpy(x).to(device) for x in _arrays(side, batches=1))
    images = images.permute(0, 3, 1, 2)  # a view: in memory channels stay last
    half = getattr(torch, flags.FLAGS.half)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.003, momentum=0.9)
    scaler = torch.amp.GradScaler(device, enabled=half is torch.float16)

    def run(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            with torch.autocast(device, half):
                logits = call(images)
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        float(loss.detach())  # waits for the GPU

    seconds, compilation = _time(run, *_repeats())
    _report(seconds, compilation, torch.cuda.max_memory_allocated() if device == "cuda" else None)


def _repeats() -> tuple[int, int]:
    """Rounds, and steps per round."""
    return (2, 1) if flags.FLAGS.tiny else (5, 4)


def _time(run: Callable[[int], None], rounds: int, calls: int) -> tuple[float, float]:
    """Returns the median seconds per step, and the seconds of the first two steps, with compilation."""
    start = time.perf_counter()
    run(2)  # torch compiles at the first, and allocates in both
    compilation, found = time.perf_counter() - start, []
    for _ in range(rounds):
        start = time.perf_counter()
        run(calls)
        found.append((time.perf_counter() - start) / calls)
    return statistics.median(found), compilation


def _report(seconds: float, compilation: float, memory: int | None) -> None:
    print(_MARK + json.dumps({"seconds": seconds, "compilation": compilation, "memory": memory}), flush=True)


if __name__ == "__main__":
    _define_flags()
    frame.run(main, "case")
