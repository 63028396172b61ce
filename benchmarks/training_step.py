"""Program: compares a training step with other libraries, with random weights: time and, on the CPU, memory.

Example:
    python -m benchmarks.training_step --rounds=5
    python -m benchmarks.training_step --batch_size=16 --only="bit_keras on jax" --only="plain jax" --only=timm
    KERAS_BACKEND=jax python -m benchmarks.training_step --device=cuda --variant=R101x3 --side=224 --batch_size=128

A step is forward pass, backward pass and an update of SGD with momentum on one batch in memory. "bit_keras" runs on the
backend of KERAS_BACKEND, tensorflow by default. "unfolded Keras" is the network made of Keras's own layers, with weight
standardization in the forward pass; "plain jax" is that of benchmarks/plain_jax.py. Needs the extra dev.
"""

import contextlib
import os
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags

from benchmarks import contest, frame, networks
from benchmarks.step_memory import ALLOCATORS, peak

_HALF = contest.HALF
_OURS, _TIMM, _UNFOLDED, _PLAIN_JAX = "bit_keras", "timm", "unfolded Keras", "plain jax"
_ON_JAX, _ON_TORCH = "bit_keras on jax", "bit_keras on torch"
CONTENDERS = (
    *(_OURS, _OURS + _HALF, _ON_JAX, _ON_JAX + _HALF, _PLAIN_JAX, _PLAIN_JAX + _HALF, _ON_TORCH, _ON_TORCH + _HALF),
    *(_TIMM, _TIMM + _HALF, "timm compiled", "timm compiled" + _HALF),
    *("transformers", _UNFOLDED),
)
_MODULE = "benchmarks.training_step"
_NUM_CLASSES = 10
_LEARNING_RATE, _MOMENTUM = 0.003, 0.9

_CONTENDER = flags.DEFINE_string("contender", None, "Run as this contender; for the program itself.")
_MEMORY = flags.DEFINE_bool("memory", False, "Measure memory; for the program itself.")
_ONLY = flags.DEFINE_multi_enum("only", None, CONTENDERS, "Contenders, all by default.")
_DEVICE = flags.DEFINE_enum(
    "device", "cpu", ["cpu", "cuda"], "Device of torch; Keras uses a GPU if its backend has one."
)
_VARIANT = flags.DEFINE_enum(
    "variant", "R50x1", ["R50x1", "R50x3", "R101x1", "R101x3", "R152x2", "R152x4"], "Architecture."
)
_BATCH_SIZES = flags.DEFINE_multi_integer("batch_size", [16, 32], "Images per step.", lower_bound=1)
_SIDE = flags.DEFINE_integer("side", 128, "Side of the images in pixels.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns per contender.", lower_bound=1)
_WEIGH = flags.DEFINE_bool("weigh", True, "Measure the memory of each contender, too; on the CPU alone.")
_ALLOCATORS = contest.define_allocator_flag()


def main() -> None:
    if _CONTENDER.value:
        run(_CONTENDER.value)
        return
    from bit_keras import BiT
    from bit_keras.network.folding import folded

    names = _ONLY.value or CONTENDERS
    macs = networks.multiplications(folded(BiT(_VARIANT.value, _NUM_CLASSES)), _SIDE.value)
    print(contest.processor())
    contenders = {name: _environment(name) for name in (*names, *contest.GEMMS.values())}
    for batch_size in _BATCH_SIZES.value:
        settings = [f"--{flag}={flags.FLAGS[flag].value}" for flag in ("side", "variant", "device")]
        settings.append(f"--batch_size={batch_size}")
        memory = _memory(names, settings) if _WEIGH.value and _DEVICE.value == "cpu" else None
        contests = contest.on_all_allocators(_MODULE, contenders, _ROUNDS.value, settings, _ALLOCATORS.value)
        for allocator, seconds in contests:
            operations = 3 * 2 * macs * batch_size  # the backward pass has twice those of the forward pass
            print(contest.table(seconds, allocator, batch_size, operations, _TIMM, memory))


def _environment(name: str) -> dict[str, str]:
    """Returns the environment variables of a contender."""
    backends = {_ON_JAX: "jax", _PLAIN_JAX: "jax", _ON_TORCH: "torch"}
    backend = backends.get(name.removesuffix(_HALF), os.environ.get("KERAS_BACKEND", "tensorflow"))
    # Without preallocation, because all contenders share the memory of a GPU.
    return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "KERAS_BACKEND": backend}


def _memory(names: Sequence[str], settings: Sequence[str]) -> dict[str, int]:
    """Returns {name: bytes}, from one process at a time, without competition for memory."""
    found = {}
    for name in names:
        _, facts = contest.contest(_MODULE, {name: _environment(name)}, 0, [*settings, "--memory"], ALLOCATORS)
        found[name] = facts[name]["bytes"]
    return found


def run(name: str) -> None:
    """Runs as the named contender, in its own process."""
    if name.startswith(contest.GEMM):
        contest.multiply(name.removeprefix(contest.GEMM), _DEVICE.value)
        return
    is_half, kind = name.endswith(_HALF), name.removesuffix(_HALF)
    keras_kinds = {
        **dict.fromkeys((_OURS, _ON_JAX, _ON_TORCH), _ours),
        _UNFOLDED: lambda is_half: networks.unfolded(_NUM_CLASSES, _VARIANT.value),
    }
    if kind in keras_kinds:
        step, parameters = _keras(keras_kinds[kind](is_half))
    elif kind == _PLAIN_JAX:
        step, parameters = _plain_jax(is_half)
    else:
        maker = networks.transformers if kind == "transformers" else networks.timm
        step, parameters = _torch(maker(_NUM_CLASSES, _VARIANT.value), is_half, compiled="compiled" in kind)
    step()
    if _MEMORY.value:
        contest.take_turns(step, warm_up=0, bytes=peak(step) + 2 * 4 * parameters)
        return
    contest.take_turns(step, warm_up=2)


def _batch_size() -> int:
    """Images per step of a contender."""
    (size,) = _BATCH_SIZES.value
    return size


def _images(channels_first: bool) -> np.ndarray:
    images = np.random.default_rng(0).uniform(-1, 1, (_batch_size(), _SIDE.value, _SIDE.value, 3))
    images = images.astype("float32")
    return images.transpose(0, 3, 1, 2) if channels_first else images


def _ours(is_half: bool):
    from bit_keras import BiT

    return BiT(_VARIANT.value, _NUM_CLASSES, dtype="mixed_bfloat16" if is_half else "float32")


def _keras(model) -> tuple[Callable, int]:
    import keras

    from bit_keras import BiT
    from bit_keras.rules import SGD

    options = {"learning_rate": _LEARNING_RATE, "momentum": _MOMENTUM}
    optimizer = SGD(**options) if isinstance(model, BiT) else keras.optimizers.SGD(**options)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True))
    images = keras.ops.convert_to_tensor(_images(channels_first=False))
    labels = keras.ops.one_hot(keras.ops.zeros(_batch_size(), "int32"), _NUM_CLASSES)
    return lambda: model.train_on_batch(images, labels), model.count_params()


def _plain_jax(is_half: bool) -> tuple[Callable, int]:
    import jax

    from benchmarks import plain_jax
    from bit_keras import BiT
    from bit_keras.zoo.variants import get_variant

    model = BiT(_VARIANT.value, _NUM_CLASSES)
    weights = plain_jax.weights_of(model)
    velocities = jax.tree.map(jax.numpy.zeros_like, weights)
    images = jax.numpy.asarray(_images(channels_first=False))
    labels = jax.nn.one_hot(np.zeros(_batch_size(), int), _NUM_CLASSES)
    dtype = jax.numpy.bfloat16 if is_half else jax.numpy.float32
    update = plain_jax.train_step(get_variant(_VARIANT.value), _LEARNING_RATE, _MOMENTUM, dtype)

    def step():
        nonlocal weights, velocities
        weights, velocities, loss = update(weights, velocities, images, labels)
        return float(loss)

    return step, model.count_params()


def _torch(module, is_half: bool, compiled: bool) -> tuple[Callable, int]:
    import torch

    device = _DEVICE.value
    module = module.train().to(device, memory_format=torch.channels_last)
    call = networks.compiled(module) if compiled else module
    images = torch.from_numpy(_images(channels_first=True)).to(device)  # a view: in memory channels stay last
    labels = torch.zeros(_batch_size(), dtype=torch.long, device=device)
    optimizer = torch.optim.SGD(module.parameters(), lr=_LEARNING_RATE, momentum=_MOMENTUM)

    def step():
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16) if is_half else contextlib.nullcontext():
            outputs = call(images)
        logits = getattr(outputs, "logits", outputs)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    step.release = optimizer.zero_grad
    return step, sum(parameter.numel() for parameter in module.parameters())


if __name__ == "__main__":
    frame.run(main, "contender")
