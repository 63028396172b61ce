"""Program: images per second of `bit_keras.finetune`, compared with its bare training step, on the CPU.

"fit" is the whole fine-tuner on images in memory: crops and flips, metrics, progress, TensorBoard, the watch over
divergence, signals and the folder; a turn is a number of steps in the middle of its training. "step" is the same
training step on one batch in memory, without metrics, called by nothing but a loop. Weights are random.

Example:
    python -m benchmarks.fit --rounds=5
    python -m benchmarks.fit --only="fit, jax" --only="step, jax"
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import contest, frame

BACKENDS = "tensorflow", "jax", "torch"
FIT, STEP = "fit, ", "step, "  # prefixes of the contenders
CONTENDERS = tuple(kind + backend for backend in BACKENDS for kind in (STEP, FIT))

_NUM_CLASSES = 10
_IMAGES = 256


def _define_flags() -> None:
    flags.DEFINE_string("contender", None, "Run as this contender; for the program itself.")
    flags.DEFINE_string("weights", None, "Weight file; for the program itself.")
    flags.DEFINE_multi_enum("only", None, CONTENDERS, "Contenders, all by default.")
    flags.DEFINE_string("variant", "R50x1", "Row of bit_keras.zoo.variants.")
    flags.DEFINE_integer("batch_size", 16, "Images per step.", lower_bound=1)
    flags.DEFINE_integer("side", 128, "Side of the images in pixels.", lower_bound=1)
    flags.DEFINE_integer("steps", 6, "Steps per turn.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "Turns per contender.", lower_bound=1)
    contest.define_allocator_flag()


def main() -> None:
    if flags.FLAGS.contender:
        run(flags.FLAGS.contender)
        return
    from benchmarks.random_weights import write_random_npz

    names = flags.FLAGS.only or CONTENDERS
    contenders = {name: {"KERAS_BACKEND": name.rpartition(" ")[2]} for name in names}
    print(
        f"{contest.processor()}; {flags.FLAGS.variant}, {flags.FLAGS.side} pixels, turns of {flags.FLAGS.steps} steps"
    )
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "random.npz")
        write_random_npz(weights, flags.FLAGS.variant, _NUM_CLASSES)
        settings = [f"--{flag}={flags.FLAGS[flag].value}" for flag in ("variant", "batch_size", "side", "steps")]
        settings.append(f"--weights={weights}")
        contests = contest.on_all_allocators(
            "benchmarks.fit", contenders, flags.FLAGS.rounds, settings, flags.FLAGS.allocator
        )
        for allocator, seconds in contests:
            print(table(seconds, allocator, flags.FLAGS.batch_size))


def table(seconds: dict[str, list[float]], setting: str, batch_size: int) -> str:
    """Returns the results as a Markdown table; `seconds` are per step, {name: those of each round}."""
    rows = [[f"batch {batch_size}, {setting}", "ms per step", "images/s", "speed relative to the step"], ["---"] * 4]
    for name, values in seconds.items():
        step = STEP + name.removeprefix(FIT)
        speed = contest.ratio(seconds, step, name) if name.startswith(FIT) and step in seconds else ""
        rows.append([name, contest.milliseconds(values), f"{batch_size / statistics.median(values):.1f}", speed])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def run(name: str) -> None:
    """Runs as the named contender, in its own process."""
    if name.startswith(FIT):
        _fit()
    else:
        contest.take_turns(_bare_step(), calls=flags.FLAGS.steps, warm_up=3)


def _fit() -> None:
    """Fine-tunes until this process is ended."""
    import keras

    import bit_keras
    from bit_keras import data

    class Turns(keras.callbacks.Callback):
        """Begins, before each step, what follows the previous one in `contest.turns`."""

        def __init__(self):
            super().__init__()
            self.turns = contest.turns(calls=flags.FLAGS.steps, warm_up=3)

        def on_train_batch_begin(self, batch, logs=None):
            if next(self.turns, True):
                self.model.stop_training = True

    random = np.random.default_rng(0)
    photos = random.integers(0, 256, (_IMAGES, flags.FLAGS.side * 5 // 4, flags.FLAGS.side * 5 // 4, 3), np.uint8)
    labels = np.arange(_IMAGES) % _NUM_CLASSES
    source = data.from_arrays(photos, labels, photos[:_NUM_CLASSES], labels[:_NUM_CLASSES])
    settings = {
        "batch_size": flags.FLAGS.batch_size,
        "resolution": flags.FLAGS.side,
        "resize": flags.FLAGS.side * 5 // 4,
    }
    settings |= {"new_head": True, "steps": 10_000, "eval_every": 10_000, "base_lr": 1e-4}
    with tempfile.TemporaryDirectory() as folder:
        bit_keras.finetune(flags.FLAGS.weights, source, Path(folder, "run"), callbacks=[Turns()], **settings)


def _bare_step() -> Callable[[], object]:
    """Returns a training step that returns when the work is finished."""
    import keras
    from keras import ops

    from bit_keras import BiT, HyperRule

    model = BiT.from_preset(flags.FLAGS.weights, _NUM_CLASSES)
    model.compile(HyperRule(_IMAGES, (96, 96)).optimizer(), keras.losses.CategoricalCrossentropy(from_logits=True))
    shape = (flags.FLAGS.batch_size, flags.FLAGS.side, flags.FLAGS.side, 3)
    images = ops.convert_to_tensor(np.random.default_rng(0).uniform(-1, 1, shape).astype("float32"))
    batch = images, ops.one_hot(ops.arange(flags.FLAGS.batch_size) % _NUM_CLASSES, _NUM_CLASSES)
    model._symbolic_build(data_batch=batch)  # as `fit` does: optimizer and metrics
    make = {"tensorflow": _tensorflow_step, "jax": _jax_step, "torch": _torch_step}[keras.backend.backend()]
    return make(model, batch)


def _tensorflow_step(model, batch) -> Callable[[], float]:
    import tensorflow as tf

    step = tf.function(model.train_step)
    return lambda: float(step(batch)["loss"])


def _jax_step(model, batch) -> Callable[[], float]:
    import jax

    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([jax.numpy.array(variable.value) for variable in group] for group in variables)
    compiled = jax.jit(model.train_step, donate_argnums=0)

    def step() -> float:
        nonlocal state
        logs, state = compiled(state, batch)
        return float(logs["loss"])

    return step


def _torch_step(model, batch) -> Callable[[], float]:
    return lambda: float(model.train_step(batch)["loss"])


if __name__ == "__main__":
    _define_flags()
    frame.run(main, "contender")
