"""Program: `predict` of a network, which standardizes its kernels in every batch, compared with the folded network's.

"plain" is `model.predict`, "folded" is `bit_keras.folded(model).predict`.

Example:
    python -m benchmarks.predict --images=32
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
from absl import flags

from benchmarks import contest, frame

CONTENDERS = ("folded", "plain")

_CONTENDER = flags.DEFINE_enum("contender", None, CONTENDERS, "Run as this contender; for the program itself.")
_VARIANT = flags.DEFINE_string("variant", "R50x1", "Row of bit_keras.zoo.variants.")
_IMAGES = flags.DEFINE_integer("images", 32, "Images per call, in batches of 1.", lower_bound=2)
_SIDE = flags.DEFINE_integer("side", 224, "Side of the images in pixels.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns per contender.", lower_bound=1)
_ALLOCATORS = contest.define_allocator_flag()


def predict(contender: str) -> None:
    """Runs as the named contender, in its own process."""
    from bit_keras import BiT, folded

    model = BiT(_VARIANT.value, num_classes=1000)
    if contender == "folded":
        model = folded(model)
    # Without XLA, like a SavedModel: its convolutions are slower on a CPU.
    model.compile(jit_compile=False)
    images = np.random.default_rng(0).uniform(-1, 1, (_IMAGES.value, _SIDE.value, _SIDE.value, 3)).astype("float32")
    contest.take_turns(lambda: model.predict(images, batch_size=1, verbose=0))


def main() -> None:
    if _CONTENDER.value:
        predict(_CONTENDER.value)
        return
    names = [f"--{flag}={flags.FLAGS[flag].value}" for flag in ("variant", "images", "side")]
    print(f"{contest.processor()}; {_VARIANT.value}, {_IMAGES.value} images of {_SIDE.value} pixels, batches of 1")
    contenders = {name: {} for name in CONTENDERS}
    contests = contest.on_all_allocators("benchmarks.predict", contenders, _ROUNDS.value, names, _ALLOCATORS.value)
    for allocator, seconds in contests:
        print(f"| network, {allocator} | ms per image | time relative to folded |\n|---|---|---|")
        for name in CONTENDERS:
            per_image = contest.milliseconds([value / _IMAGES.value for value in seconds[name]])
            print(f"| {name} | {per_image} | {contest.ratio(seconds, name, 'folded')} |")


if __name__ == "__main__":
    frame.run(main, "contender")
