"""Steps on jax, lowered for devices that this machine does not have.

Those of the programs are lowered in tests/rules/test_jit_compile.py.
"""

import collections

import keras
import numpy as np
import pytest

import bit_keras
from benchmarks import ablation, stablehlo
from bit_keras.rules import SGD, MixUp

pytestmark = [
    pytest.mark.usefixtures("tiny"),
    pytest.mark.any_backend,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="the others lower nothing for a device they lack"),
]

BATCH = 2, 32  # images, side
CONVOLUTIONS, ONE_BY_ONE = 5, 3  # of the network


def _compiled(precision: str, normalization: ablation.Normalization | None = None) -> keras.Model:
    model = bit_keras.BiT("tiny", 3, dtype=precision)
    model = model if normalization is None else ablation.renormalize(model, normalization)
    model.compile(SGD(0.1, momentum=0.9), keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_training_step_on_every_device(precision):
    model = _compiled(precision)
    mixup = MixUp(0.1)
    mixup.set_model(model)
    mixup.on_train_begin()
    step = stablehlo.training_step(model, *BATCH)
    kind = stablehlo.SHORT[keras.dtype_policies.get(precision).compute_dtype]
    for platform in ("cpu", *stablehlo.PLATFORMS):
        lowered = stablehlo.lower(platform, *step)
        # Forward, and the gradients of the kernels and of all inputs but the images. The head has products, and on CPUs
        # 1x1 convolutions are products, too.
        products = 3 * ONE_BY_ONE if platform == "cpu" else 0
        assert lowered.convolutions == {kind: 3 * CONVOLUTIONS - 1 - products}
        assert lowered.products == collections.Counter({"f32": 3}) + collections.Counter({kind: products})
        assert lowered.custom_calls == set()


@pytest.mark.parametrize("platform", stablehlo.PLATFORMS)
def test_a_training_step_of_the_ablation(platform):
    step = stablehlo.training_step(_compiled("mixed_bfloat16", ablation.NORMALIZATIONS[-1]), *BATCH)
    lowered = stablehlo.lower(platform, *step)
    assert (lowered.convolutions, lowered.products) == ({"bf16": 3 * CONVOLUTIONS - 1}, {"f32": 3})
    assert lowered.custom_calls == set()


@pytest.mark.parametrize(("variant", "side", "convolutions"), [("R50x1", 224, 53), ("R101x3", 480, 104)])
def test_the_training_step_of_a_published_network(variant, side, convolutions):
    step = stablehlo.training_step(stablehlo.abstract_network(variant, "mixed_bfloat16"), 128, side)
    for platform in stablehlo.PLATFORMS:
        lowered = stablehlo.lower(platform, *step)
        assert (lowered.convolutions, lowered.products) == ({"bf16": 3 * convolutions - 1}, {"f32": 3})
        assert lowered.custom_calls == set()


@pytest.mark.parametrize("platform", stablehlo.PLATFORMS)
@pytest.mark.parametrize("kind", ["model", "folded", "folded to bfloat16"])
def test_a_prediction_step(platform, kind):
    model = bit_keras.BiT("tiny", 3)
    dtype = "bfloat16" if "bfloat16" in kind else None
    network = bit_keras.folded(model, dtype) if "folded" in kind else model
    lowered = stablehlo.lower(platform, *stablehlo.prediction_step(network, *BATCH))
    name = "f32" if dtype is None else "bf16"
    assert (lowered.convolutions, lowered.products) == ({name: CONVOLUTIONS}, {name: 1})
    assert lowered.custom_calls == set()


def test_a_network_without_values_has_the_step_of_a_real_one():
    real = stablehlo.training_step(_compiled("mixed_bfloat16"), *BATCH)
    abstract = stablehlo.training_step(stablehlo.abstract_network("tiny", "mixed_bfloat16"), *BATCH)
    counts = [stablehlo.lower("cuda", *each) for each in (real, abstract)]
    assert counts[0].convolutions == counts[1].convolutions
    assert counts[0].products == counts[1].products


def test_what_calls_this_process_is_refused_or_named():
    import jax

    def call_back(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct((2,), "float32"), x)

    with pytest.raises(ValueError, match="the lowering platform cuda"):
        stablehlo.lower("cuda", call_back, jax.ShapeDtypeStruct((2,), "float32"))
    lowered = stablehlo.lower("cpu", jax.numpy.linalg.cholesky, jax.ShapeDtypeStruct((2, 2), "float32"))
    assert len(lowered.custom_calls) == 1


def test_hidden_float32_is_counted():
    import jax

    def convolve(images, kernel):
        kernel = kernel.astype("float32")
        return jax.lax.conv(images.astype("float32"), kernel, (1, 1), "SAME")

    shapes = jax.ShapeDtypeStruct((1, 3, 8, 8), "bfloat16"), jax.ShapeDtypeStruct((4, 3, 3, 3), "bfloat16")
    assert stablehlo.lower("tpu", convolve, *shapes).convolutions == {"f32": 1}
