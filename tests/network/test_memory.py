"""The estimate of memory, compared with counts by hand."""

import pytest

from bit_keras.network.execution import RECOMPUTE_MINIMUM
from bit_keras.network.memory import Memory, estimate_memory
from bit_keras.zoo.variants import VARIANTS


def _small(**options) -> Memory:
    return estimate_memory(VARIANTS["R17x0.5"], 10, **{"batch_size": 1, "crop": 8, **options})


# Elements of R17x0.5 for an image of 8 x 8 pixels, counted by hand, for stem, units and last normalization: outputs of
# ReLU, outputs of convolutions and paddings within a unit, and output of the unit.
NORMALIZED = [0, 384, 832, 384, 512, 1024, 1024]
CONVOLVED = [1740, 256, 1344, 128, 1408, 2816, 0]
OUTPUTS = [128, 512, 256, 256, 512, 1024, 0]
PARAMETERS = 2_087_978
HEAD = 10 * 1025


def test_memory_is_as_counted_by_hand():
    of_an_image = sum(NORMALIZED) + sum(CONVOLVED) + sum(OUTPUTS)
    assert _small() == Memory(3 * 4 * PARAMETERS, 4 * of_an_image + 8 * PARAMETERS)
    assert _small(batch_size=64).activations == 64 * 4 * of_an_image + 8 * PARAMETERS
    for precision in ("mixed_bfloat16", "mixed_float16"):
        assert _small(precision=precision) == Memory(3 * 4 * PARAMETERS, 2 * of_an_image + 4 * PARAMETERS)


def test_large_outputs_of_relu_are_not_saved():
    batch_size = RECOMPUTE_MINIMUM  # so that every feature map is large
    of_an_image = sum(CONVOLVED) + sum(OUTPUTS)
    assert _small(batch_size=batch_size).activations == batch_size * 4 * of_an_image + 8 * PARAMETERS


def test_memory_of_rematerialization_is_that_of_outputs_and_one_unit():
    block4 = NORMALIZED[5] + CONVOLVED[5]
    assert _small(remat=True) == Memory(3 * 4 * PARAMETERS, 4 * (sum(OUTPUTS) + block4) + 8 * PARAMETERS)


def test_memory_of_accumulation_is_that_of_a_micro_batch_and_a_sum():
    micro_batch = _small(batch_size=8)
    assert _small(batch_size=32, accumulate=4) == Memory(micro_batch.weights + 4 * PARAMETERS, micro_batch.activations)


def test_frozen_stages_need_only_weights():
    norms = (32 + 2 * 32) + (128 + 2 * 64) + (256 + 2 * 64)
    frozen = 4704 + 18432 + 94208 + 69632 + 2 * norms  # a normalization has beta and gamma
    saved = sum(NORMALIZED[4:]) + sum(CONVOLVED[4:]) + sum(OUTPUTS[3:])
    trained = PARAMETERS - frozen
    assert _small(freeze="block2") == Memory(4 * PARAMETERS + 2 * 4 * trained, 4 * saved + 8 * trained)
    assert _small(freeze="head_only").weights == 4 * (PARAMETERS + 2 * HEAD)


def test_memory_grows_as_it_must():
    def activations(name="R50x1", batch_size=1024, crop=128):
        return estimate_memory(VARIANTS[name], 1000, batch_size, crop).activations

    assert activations(batch_size=2048) == pytest.approx(2 * activations(), rel=0.01)
    assert activations(crop=256) == pytest.approx(4 * activations(), rel=0.05)  # paddings grow less
    assert activations("R50x3") == pytest.approx(3 * activations(), rel=0.05)
