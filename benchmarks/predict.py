"""Program: `model.predict` of a network that standardizes its kernels, beside the one that `folding.fold` makes of it.

Example:
    python -m benchmarks.predict --images=32

"per batch" is `keras.Model.predict`, which standardizes the kernels in each batch; "per call" is `BiT.predict`.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # the backend on which BiT.predict differs

import keras
import numpy as np
from absl import app, flags

from benchmarks import contest

CONTENDERS = ("folded", "per batch", "per call")

_CONTENDER = flags.DEFINE_enum("contender", None, CONTENDERS, "Run as this contender; for the program itself.")
_VARIANT = flags.DEFINE_string("variant", "R50x1", "Row of bit_keras.zoo.variants.")
_IMAGES = flags.DEFINE_integer("images", 32, "Images of a call, in batches of 1.", lower_bound=2)
_SIDE = flags.DEFINE_integer("side", 224, "Side of the images in pixels.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each contender.", lower_bound=1)


def predict(contender: str) -> None:
    """Is a contender."""
    from bit_keras import BiT
    from bit_keras.network.folding import fold

    model = BiT(_VARIANT.value, num_classes=1000)
    if contender == "folded":
        model = fold(model)
    # As a SavedModel runs, without XLA, whose convolutions are slower on a CPU.
    model.compile(jit_compile=False)
    images = np.random.default_rng(0).uniform(-1, 1, (_IMAGES.value, _SIDE.value, _SIDE.value, 3)).astype("float32")
    run = keras.Model.predict if contender == "per batch" else type(model).predict
    contest.take_turns(lambda: run(model, images, batch_size=1, verbose=0))


def main(_) -> None:
    if _CONTENDER.value:
        predict(_CONTENDER.value)
        return
    names = [f"--{flag}={flags.FLAGS[flag].value}" for flag in ("variant", "images", "side")]
    seconds, _ = contest.contest("benchmarks.predict", {name: {} for name in CONTENDERS}, _ROUNDS.value, names)
    print(f"{contest.processor()}; {_VARIANT.value}, {_IMAGES.value} images of {_SIDE.value} pixels, batches of 1\n")
    print("| kernels are standardized | ms an image | time of folded |\n|---|---|---|")
    for name in CONTENDERS:
        per_image = contest.milliseconds([value / _IMAGES.value for value in seconds[name]])
        print(f"| {name} | {per_image} | {contest.ratio(seconds, name, 'folded')} |")


if __name__ == "__main__":
    app.run(main)
