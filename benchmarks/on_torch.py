"""Program: training steps and predictions of R50x1 on Keras's torch backend, compared with timm, on the CPU.

Example:
    python -m benchmarks.on_torch --work=prediction --batch_size=16 --allocator="kept memory"

"compiled" is `compile(jit_compile=True)` of Keras, and `torch.compile` of timm's network; "folded" predicts with
`bit_keras.folded(model)`. A step is forward pass, backward pass and an update of SGD with momentum. Needs the extra
dev.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

from collections.abc import Callable

import numpy as np
from absl import flags

from benchmarks import contest, frame, networks

_HALF, _COMPILED = contest.HALF, " compiled"
_OURS, _FOLDED, _TIMM = "bit_keras", "bit_keras folded", "timm"
CONTENDERS = [
    kind + half for half in ("", _HALF) for kind in (_TIMM, _TIMM + _COMPILED, _OURS, _FOLDED, _OURS + _COMPILED)
]
_NUM_CLASSES, _SIDE = 10, 128

_CONTENDER = flags.DEFINE_enum("contender", None, CONTENDERS, "Run as this contender; for the program itself.")
_ONLY = flags.DEFINE_multi_enum("only", None, CONTENDERS, "Contenders, all by default.")
_WORK = flags.DEFINE_enum("work", "training", ["training", "prediction"], "What to measure.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images of 128 pixels per call.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns per contender.", lower_bound=1)
_ALLOCATORS = contest.define_allocator_flag()


def main() -> None:
    if _CONTENDER.value:
        run(_CONTENDER.value)
        return
    trains = _WORK.value == "training"
    names = _ONLY.value or [name for name in CONTENDERS if not (trains and name.startswith(_FOLDED))]
    settings = [f"--work={_WORK.value}", f"--batch_size={_BATCH_SIZE.value}"]
    print(f"{contest.processor()}; {_WORK.value}, R50x1, {_BATCH_SIZE.value} images of {_SIDE} pixels")
    contenders = {name: {} for name in names}
    contests = contest.on_all_allocators("benchmarks.on_torch", contenders, _ROUNDS.value, settings, _ALLOCATORS.value)
    for allocator, seconds in contests:
        print(f"| contender, {allocator} | ms | speed relative to timm in the same precision |\n|---|---|---|")
        for name in names:
            base = _TIMM + _HALF if name.endswith(_HALF) else _TIMM
            speed = contest.ratio(seconds, base, name) if base in seconds else ""
            print(f"| {name} | {contest.milliseconds(seconds[name])} | {speed} |")


def run(name: str) -> None:
    """Runs as the named contender, in its own process."""
    kind, is_half = name.removesuffix(_HALF), name.endswith(_HALF)
    shape = (_BATCH_SIZE.value, _SIDE, _SIDE, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    make = _timm if kind.startswith(_TIMM) else _ours
    contest.take_turns(make(images, kind, is_half), warm_up=3)


def _ours(images: np.ndarray, kind: str, is_half: bool) -> Callable:
    import keras

    from bit_keras import BiT, folded
    from bit_keras.rules import SGD

    model = BiT("R50x1", _NUM_CLASSES, dtype="mixed_bfloat16" if is_half else "float32")
    if kind == _FOLDED:
        model = folded(model, dtype="bfloat16" if is_half else None)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(SGD(0.003, momentum=0.9), loss, jit_compile=kind.endswith(_COMPILED))
    images = keras.ops.convert_to_tensor(images)
    labels = keras.ops.one_hot(keras.ops.zeros(len(images), "int32"), _NUM_CLASSES)
    if _WORK.value == "prediction":
        return lambda: model.predict_on_batch(images)
    return lambda: model.train_on_batch(images, labels)


def _timm(images: np.ndarray, kind: str, is_half: bool) -> Callable:
    import torch

    network = networks.timm(_NUM_CLASSES).to(memory_format=torch.channels_last)
    call = networks.compiled(network) if kind.endswith(_COMPILED) else network
    images = torch.from_numpy(images).permute(0, 3, 1, 2)  # a view: in memory channels stay last
    labels = torch.zeros(len(images), dtype=torch.long)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.003, momentum=0.9)

    def train():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            outputs = call(images)
        loss = torch.nn.functional.cross_entropy(outputs.float(), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def predict():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            return call(images).float().numpy()

    network.train(_WORK.value == "training")
    return train if _WORK.value == "training" else predict


if __name__ == "__main__":
    frame.run(main, "contender")
