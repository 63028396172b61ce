"""Program: the convolutions of a training step alone, in XLA and in oneDNN as torch calls it, on the CPU.

Every convolution of the network runs forward, for the gradient of its kernel and, but for the first, of its inputs,
with nothing between them. What a backend loses here, no arithmetic between the convolutions can win back.

Example:
    python -m benchmarks.convolutions --batch_size=16 --side=128
"""

import collections
import dataclasses
import json
from collections.abc import Callable

import numpy as np
from absl import flags

from benchmarks import contest, frame

_TORCH, _XLA = "torch (oneDNN)", "jax (XLA)"
CONTENDERS = _TORCH, _XLA


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution of square maps with the same padding on all sides; the first has no gradient of its inputs."""

    side: int
    inputs: int
    filters: int
    size: int
    strides: int
    padding: int
    is_first: bool = False

    @property
    def side_of_outputs(self) -> int:
        """Height and width of the outputs."""
        return (self.side + 2 * self.padding - self.size) // self.strides + 1

    @property
    def multiplications(self) -> int:
        """Per image, forward and for the gradients."""
        per_pass = (self.side_of_outputs * self.size) ** 2 * self.inputs * self.filters
        return per_pass * (2 if self.is_first else 3)


def convolutions(variant: str, side: int) -> dict[Convolution, int]:
    """Returns {convolution: how often it occurs} for images of a side in pixels."""
    from bit_keras.zoo.variants import get_variant

    network = get_variant(variant)
    stem = Convolution(side, 3, network.stem_filters, 7, 2, 3, is_first=True)
    found = [stem]
    side = (stem.side_of_outputs - 1) // 2 + 1  # after the pool
    for unit in network.unit_rows():
        if unit.has_projection:
            found.append(Convolution(side, unit.inputs, unit.outputs, 1, unit.strides, 0))
        found.append(Convolution(side, unit.inputs, unit.filters, 1, 1, 0))
        found.append(Convolution(side, unit.filters, unit.filters, 3, unit.strides, 1))
        side = found[-1].side_of_outputs
        found.append(Convolution(side, unit.filters, unit.outputs, 1, 1, 0))
    return dict(collections.Counter(found))


def _define_flags() -> None:
    flags.DEFINE_string("contender", None, "Run as this contender; for the program itself.")
    flags.DEFINE_string("variant", "R50x1", "Row of bit_keras.zoo.variants.")
    flags.DEFINE_integer("batch_size", 16, "Images per step.", lower_bound=1)
    flags.DEFINE_integer("side", 128, "Side of the images in pixels.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "Turns per contender.", lower_bound=1)
    contest.define_allocator_flag()
    flags.DEFINE_string("shapes", None, "Convolutions in JSON; for the program itself.")


def main() -> None:
    if flags.FLAGS.contender:
        run(flags.FLAGS.contender)
        return
    counts = convolutions(flags.FLAGS.variant, flags.FLAGS.side)
    operations = 2 * flags.FLAGS.batch_size * sum(c.multiplications * count for c, count in counts.items())
    shapes = [[dataclasses.astuple(c), count] for c, count in counts.items()]
    settings = [f"--batch_size={flags.FLAGS.batch_size}", f"--shapes={json.dumps(shapes)}"]
    contenders = {name: {} for name in (*CONTENDERS, contest.GEMMS["float32"])}
    print(contest.processor())
    contests = contest.on_all_allocators(
        "benchmarks.convolutions", contenders, flags.FLAGS.rounds, settings, flags.FLAGS.allocator
    )
    for allocator, seconds in contests:
        print(contest.table(seconds, allocator, flags.FLAGS.batch_size, operations, _TORCH))


def run(name: str) -> None:
    """Runs as the named contender, in its own process."""
    if name.startswith(contest.GEMM):
        contest.multiply(name.removeprefix(contest.GEMM))
        return
    make, random = {_TORCH: _torch, _XLA: _xla}[name], np.random.default_rng(0)
    steps = []
    for fields, count in json.loads(flags.FLAGS.shapes):
        convolution = Convolution(*fields)
        steps += [make(convolution, *arrays(convolution, flags.FLAGS.batch_size, random))] * count
    contest.take_turns(lambda: [step() for step in steps])


def arrays(convolution: Convolution, batch_size: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Returns inputs [N, H, W, C], kernel [kh, kw, C, filters] and output gradient [N, H', W', filters]."""
    c = convolution
    shapes = [
        (batch_size, c.side, c.side, c.inputs),
        (c.size, c.size, c.inputs, c.filters),
        (batch_size, c.side_of_outputs, c.side_of_outputs, c.filters),
    ]
    return tuple(random.standard_normal(shape, np.float32) for shape in shapes)


def _torch(convolution: Convolution, inputs, kernel, dy) -> Callable[[], tuple]:
    import torch

    c, options = convolution, {"memory_format": torch.channels_last}
    inputs, dy = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in (inputs, dy))
    kernel = torch.from_numpy(kernel).permute(3, 2, 0, 1).contiguous(**options)
    settings = (c.strides, c.strides), (c.padding, c.padding), (1, 1)
    mask = (not c.is_first, True, False)

    def step():
        outputs = torch.nn.functional.conv2d(inputs, kernel, None, *settings)
        gradients = torch.ops.aten.convolution_backward(dy, inputs, kernel, None, *settings, False, (0, 0), 1, mask)
        return outputs, *gradients[:2]

    return step


def _xla(convolution: Convolution, inputs, kernel, dy) -> Callable[[], tuple]:
    import jax

    c = convolution

    def convolve(inputs, kernel):
        options = {"padding": [(c.padding, c.padding)] * 2, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
        return jax.lax.conv_general_dilated(inputs, kernel, (c.strides, c.strides), **options)

    @jax.jit
    def run(inputs, kernel, dy):
        outputs, pull = jax.vjp(convolve, inputs, kernel)
        of_inputs, of_kernel = pull(dy)
        return outputs, None if c.is_first else of_inputs, of_kernel

    inputs, kernel, dy = map(jax.numpy.asarray, (inputs, kernel, dy))
    return lambda: jax.block_until_ready(run(inputs, kernel, dy))


if __name__ == "__main__":
    _define_flags()
    frame.run(main, "contender")
