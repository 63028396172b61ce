"""Program: the memory that XLA plans for a training step on jax, and the estimate of `--dry_run`.

XLA plans it when it compiles the step for this machine's device, before anything runs: nothing is allocated. It needs
the jax backend.

Example:
    KERAS_BACKEND=jax python -m benchmarks.xla_memory --variant=R50x1 --side=224 --batch_size=32
"""

import sys

import keras
from absl import flags

from benchmarks import frame
from benchmarks.stablehlo import NUM_CLASSES, abstract_network, training_step
from bit_keras.zoo.variants import VARIANTS


def _define_flags() -> None:
    flags.DEFINE_multi_enum("variant", ["R50x1"], list(VARIANTS), "Architectures.")
    flags.DEFINE_multi_integer("side", [128], "Sides of the images in pixels.", lower_bound=1)
    flags.DEFINE_multi_integer("batch_size", [8, 32], "Images per step.", lower_bound=1)
    flags.DEFINE_multi_enum("precision", ["float32"], ["float32", "mixed_bfloat16"], "Dtype policies of the network.")
    flags.DEFINE_bool("remat", False, "Recompute the residual units in the backward pass.")


def main() -> None:
    if keras.backend.backend() != "jax":
        sys.exit(f"xla_memory needs the jax backend: set KERAS_BACKEND=jax, which is {keras.backend.backend()} now")
    import jax

    given = flags.FLAGS
    print(f"| {jax.devices()[0].device_kind} | planned by XLA | estimated | estimated / planned |\n|" + "---|" * 4)
    for variant in given.variant:
        for precision in given.precision:
            model = abstract_network(variant, precision, remat=given.remat)
            for side in given.side:
                for batch_size in given.batch_size:
                    planned = planned_bytes(model, batch_size, side)
                    estimated = _estimated_bytes(variant, batch_size, side, precision, given.remat)
                    case = f"{variant}, {batch_size} x {side} pixels, {precision}{', remat' * given.remat}"
                    row = f"{planned / 1e9:.2f} GB | {estimated / 1e9:.2f} GB | {estimated / planned:.2f}"
                    print(f"| {case} | {row} |", flush=True)


def planned_bytes(model: keras.Model, batch_size: int, side: int) -> int:
    """Returns the bytes that XLA plans for a step: weights, optimizer, batch, and what it computes in between.

    New weights take the place of the old ones, as in `fit`.
    """
    import jax

    step, *arguments = training_step(model, batch_size, side)
    compiled = jax.jit(step, donate_argnums=0).lower(*arguments).compile()
    memory = compiled.memory_analysis()
    sizes = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
    return sum(sizes) - memory.alias_size_in_bytes


def _estimated_bytes(variant: str, batch_size: int, side: int, precision: str, remat: bool) -> int:
    from bit_keras.network.memory import estimate_memory
    from bit_keras.zoo.variants import get_variant

    memory = estimate_memory(get_variant(variant), NUM_CLASSES, batch_size, side, precision, remat=remat)
    return memory.weights + memory.activations


if __name__ == "__main__":
    _define_flags()
    frame.run(main)
