"""Program: time from the start of Python to the end of the first training step, by phase.

It prints medians over fresh processes; with two checkouts their processes run in turns.

Example:
    git worktree add /tmp/before bb1af38
    python -m benchmarks.startup --rounds=5 --before=/tmp/before
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

PHASES = ("import keras", "import bit_keras", "build", "load", "first step", "second step")
_MEASURE = flags.DEFINE_string(
    "measure", None, "Load this npz file and print the seconds as JSON; for the program itself."
)
_VARIANT = flags.DEFINE_string("variant", "R50x1", "Row of bit_keras.zoo.variants.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images per step.", lower_bound=1)
_SIDE = flags.DEFINE_integer("side", 128, "Side of the images in pixels.", lower_bound=1)
_BEFORE = flags.DEFINE_string("before", None, "Another checkout, to compare this one with.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Processes per checkout.", lower_bound=1)


def measure(weights: str) -> dict[str, float]:
    """Runs and times all phases in this process, which must not have imported anything; returns seconds per phase."""
    times = [time.perf_counter()]
    import keras

    times.append(time.perf_counter())
    import bit_keras

    times.append(time.perf_counter())
    model = bit_keras.BiT(_VARIANT.value, 10)
    times.append(time.perf_counter())
    bit_keras.load_weights(model, weights)
    times.append(time.perf_counter())
    _prepare(model, keras)
    images = keras.ops.zeros((_BATCH_SIZE.value, _SIDE.value, _SIDE.value, 3))
    labels = keras.ops.one_hot(keras.ops.zeros(_BATCH_SIZE.value, "int32"), 10)
    for _ in range(2):
        model.train_on_batch(images, labels)
        times.append(time.perf_counter())
    return {phase: end - begin for phase, begin, end in zip(PHASES, times, times[1:])}


def _prepare(model, keras) -> None:
    """Compiles as fine-tuning does, for a checkpoint that does not exist yet."""
    from bit_keras import HyperRule, training
    from bit_keras.rules import optimizers

    schedule = HyperRule(num_examples=50_000, image_size=(32, 32)).schedule
    optimizer = optimizers.optimizer(schedule)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as folder:
        training.Checkpoint(Path(folder, "last.weights.h5"), training.MetricsLog(None)).restore(model)


def _in_child(checkout: str, weights: Path) -> dict[str, float]:
    settings = [f"--{flag}={flags.FLAGS[flag].value}" for flag in ("variant", "batch_size", "side")]
    # By path, not as a module: the other checkout may have a different version of this program.
    command = [sys.executable, __file__, f"--measure={weights}", *settings]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": checkout}
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    times = json.loads(process.stdout.splitlines()[-1])
    return {**times, "total to the end of the first step": sum(times[phase] for phase in PHASES[:-1])}


def main() -> None:
    if _BEFORE.value and not Path(_BEFORE.value, "bit_keras", "__init__.py").is_file():
        raise ValueError(f"before must be the folder of a checkout, which holds bit_keras/, got {_BEFORE.value!r}")
    from benchmarks.random_weights import write_random_npz

    checkouts = {"now": str(Path(__file__).parents[1]), "before": _BEFORE.value}
    checkouts = {name: path for name, path in checkouts.items() if path}
    runs = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights.npz")
        write_random_npz(weights, _VARIANT.value, 10)
        for _ in range(_ROUNDS.value):
            for name, path in checkouts.items():
                runs[name].append(_in_child(path, weights))
    print(f"| seconds, median (minimum to maximum) | {' | '.join(runs)} |\n|---|{'---|' * len(runs)}")
    for phase in runs["now"][0]:
        cells = [_range([run[phase] for run in times]) for times in runs.values()]
        print(f"| {phase} | {' | '.join(cells)} |")


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    if any(argument.startswith("--measure=") for argument in sys.argv):  # with the modules of any checkout
        flags.FLAGS(sys.argv)
        print(json.dumps(measure(_MEASURE.value)))
    else:
        from benchmarks import frame

        frame.run(main)
