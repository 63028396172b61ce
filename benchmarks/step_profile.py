"""Program: time of a training step on TensorFlow by kind of operation, with one operation running at a time.

Example:
    python -m benchmarks.step_profile --variant=R50x1 --batch_size=32 --precision=mixed_bfloat16
"""

import collections
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
from absl import flags

from benchmarks import contest, frame, surroundings

_CONTENDER = flags.DEFINE_string("contender", None, "Profile in this process; for the program itself.")
_VARIANT = flags.DEFINE_string("variant", "R50x1", "Row of bit_keras.zoo.variants.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images per step.", lower_bound=1)
_SIDE = flags.DEFINE_integer("side", 128, "Side of the images in pixels.", lower_bound=1)
_PRECISION = flags.DEFINE_string("precision", "float32", "Dtype policy of the network.")
_STEPS = flags.DEFINE_integer("steps", 3, "Steps to measure.", lower_bound=1)
_ALLOCATORS = contest.define_allocator_flag()
_LEAST = 0.005  # operations that take a smaller fraction of the total time are not printed

# Event that covers the run of an XLA program; the other events of its launch lie within it.
_XLA = "Start"
_NO_OPERATIONS = {"Run", "Process", "ExecuteAsyncOnStream", "Execute", "Done", "Await"}


def by_operation(step: Callable, steps: int) -> dict[str, float]:
    """Returns {kind of operation: milliseconds per step}, the mean over `steps` steps, in falling order."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(steps):
                step()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space = XSpace.FromString(file.read_bytes())
    totals = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events if "CPU" in plane.name):
            name = plane.event_metadata[event.metadata_id].name
            operation = name.rpartition(":")[2]
            if ":" in name and operation not in _NO_OPERATIONS and not operation.startswith(" "):
                totals["XLA programs" if operation == _XLA else operation] += event.duration_ps / 1e9 / steps
    return dict(totals.most_common())


def main() -> None:
    if _CONTENDER.value:
        step = make_step()
        contest.take_turns(step, milliseconds=by_operation(step, _STEPS.value))
        return
    from bit_keras.zoo.variants import get_variant

    get_variant(_VARIANT.value)  # raises if there is none
    settings = [
        f"--{flag}={flags.FLAGS[flag].value}" for flag in ("variant", "batch_size", "side", "precision", "steps")
    ]
    print(contest.processor())
    for allocator in _ALLOCATORS.value:
        contenders, variables = {"bit_keras": {}}, contest.ALLOCATORS[allocator]
        seconds, facts = contest.contest("benchmarks.step_profile", contenders, _STEPS.value, settings, variables)
        setting = f"batch {_BATCH_SIZE.value}, {_PRECISION.value}, {allocator}"
        print(f"\n{table(facts['bit_keras']['milliseconds'], setting)}")
        print(f"| wall time without the profiler | {contest.milliseconds(seconds['bit_keras'])} | |")
        print(f"\n{surroundings.table(facts)}", flush=True)


def table(times: dict[str, float], setting: str) -> str:
    """Returns the milliseconds of each kind of operation as a Markdown table."""
    total = sum(times.values())
    rows = [f"| {setting} | ms | fraction |\n|---|---|---|\n| all operations | {total:.0f} | |"]
    large = {operation: value for operation, value in times.items() if value >= _LEAST * total}
    return "\n".join(rows + [f"| {name} | {value:.0f} | {value / total:.0%} |" for name, value in large.items()])


def make_step() -> Callable[[], None]:
    """Returns a training step of the flags, which is compiled."""
    import tensorflow as tf

    from bit_keras import BiT
    from bit_keras.rules import SGD

    tf.config.threading.set_inter_op_parallelism_threads(1)  # concurrent operations would wait for each other's threads
    model = BiT(_VARIANT.value, 10, dtype=_PRECISION.value)
    optimizer = SGD(0.003, momentum=0.9)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True))
    images = tf.zeros((_BATCH_SIZE.value, _SIDE.value, _SIDE.value, 3))
    labels = tf.one_hot(tf.zeros(_BATCH_SIZE.value, tf.int32), 10)

    def step():
        model.train_on_batch(images, labels)

    step()
    step()
    return step


if __name__ == "__main__":
    frame.run(main, "contender")
