"""Program: lowers training and prediction steps for GPUs and TPUs, on a CPU, without memory for weights and images.

It shows what the compiler of such a device receives: every operation can be lowered, none calls back into Python, and
the convolutions are in the precision that was asked for. It needs the jax backend.

Example:
    KERAS_BACKEND=jax python -m benchmarks.lowering --variant=R50x1 --side=224 --side=480
"""

import sys
import time
from collections.abc import Mapping

import keras
from absl import flags

from benchmarks import frame
from benchmarks.stablehlo import PLATFORMS, abstract_network, lower, prediction_step, training_step
from bit_keras.zoo.variants import VARIANTS

_VARIANTS = flags.DEFINE_multi_enum("variant", ["R50x1", "R101x3"], list(VARIANTS), "Architectures.")
_SIDES = flags.DEFINE_multi_integer("side", [224, 480], "Sides of the images in pixels.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images per step.", lower_bound=1)
_PRECISION = flags.DEFINE_enum(
    "precision", "mixed_bfloat16", ["float32", "mixed_bfloat16", "mixed_float16"], "Dtype policy of the network."
)


def main() -> None:
    if keras.backend.backend() != "jax":
        sys.exit(f"lowering needs the jax backend: set KERAS_BACKEND=jax, which is {keras.backend.backend()} now")
    print("| step | platform | operations | convolutions | matrix products | custom calls | seconds |\n|" + "---|" * 7)
    for variant in _VARIANTS.value:
        model = abstract_network(variant, _PRECISION.value)
        for side in _SIDES.value:
            for name, make in (("training", training_step), ("prediction", prediction_step)):
                step = make(model, _BATCH_SIZE.value, side)
                for platform in PLATFORMS:
                    start = time.perf_counter()
                    lowered = lower(platform, *step)
                    columns = [
                        *(f"{variant}, {side} pixels, {name}", platform, f"{lowered.operations:,}"),
                        *map(_counts, (lowered.convolutions, lowered.products)),
                        ", ".join(sorted(lowered.custom_calls)) or "none",
                        f"{time.perf_counter() - start:.1f}",
                    ]
                    print(f"| {' | '.join(columns)} |", flush=True)


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in numbers.items()) or "none"


if __name__ == "__main__":
    frame.run(main)
