"""Programs with a training step that XLA compiles as a whole, as on a GPU, compared with an uncompiled step.

XLA compiles for the CPU here. For other devices the tests look up TensorFlow's kernels for the operations of the step,
and lower jax's step.
"""

import functools
import os
import sys
from collections.abc import Callable

import keras
import numpy as np
import pytest

import bit_keras
from benchmarks import ablation, stablehlo
from bit_keras import data
from bit_keras.distill import distill
from bit_keras.pretrain import pretrain
from bit_keras.rules import HyperRuleCallback, MixUp
from bit_keras.runs import network

pytestmark = pytest.mark.usefixtures("tiny")
without_torch = pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras compiles by itself on the others")


@pytest.fixture(scope="module", autouse=True)
def _fast_compilation():
    """XLA reads the flag when it first compiles. The tests run each program three times only."""
    with pytest.MonkeyPatch.context() as patch:
        if "XLA_FLAGS" not in os.environ:
            patch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
        yield


@functools.cache
def source(num_train: int) -> data.Source:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (num_train, 8, 8, 3), np.uint8), np.arange(num_train) % 10
    return data.from_arrays(images, labels, images[:10], labels[:10], class_names=list("0123456789"), name="noise")


def finetune(tiny_npz, num_train=32, **settings):
    bit_keras.finetune(tiny_npz, source(num_train), steps=10, base_lr=0.03, **settings)


def pretrain_a_network(tiny_npz, **settings):
    pretrain("tiny", source(32), **settings)


def one_convolution(variant, num_classes, dtype=None, remat=False) -> keras.Model:
    """A network for steps whose loss is tested: those of a BiT are compiled in the other cases."""
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(8, 3, activation="relu", dtype=dtype, name="conv"),
            keras.layers.GlobalAveragePooling2D(dtype=dtype),
            keras.layers.Dense(num_classes, dtype="float32", name="head"),
        ],
        name="one_convolution",
    )
    model.num_classes = num_classes
    return model


def pretrain_a_convolution(tiny_npz, **settings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["bit_keras.pretrain"], "BiT", one_convolution)
        pretrain_a_network(tiny_npz, **settings)


def distill_into_a_convolution(tiny_npz, **settings):
    """With MixUp, from a BiT as the teacher."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "BiT", one_convolution)
        distill("tiny", tiny_npz, source(32), **settings)


def ablate(tiny_npz, **settings):
    """Batch normalization, which no other network has, of standardized convolutions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "NORMALIZATIONS", ablation.NORMALIZATIONS[-1:])
        ablation.ablate("tiny", source(32), steps=10, seeds=1, **settings)


class Trained(Exception):
    """Raised to end a program after three updates."""


class Step(keras.callbacks.Callback):
    """Records the training step: TensorFlow's graph, or on jax the function and the shapes of its arguments."""

    def on_train_begin(self, logs=None):
        self.function = step = self.model.train_step

        def train_step(*args):
            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                self.graph = tf.compat.v1.get_default_graph()
            elif keras.backend.backend() == "jax":
                import jax

                self.shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
            return step(*args)

        self.model.train_step = train_step
        self.model.make_train_function(force=True)

    def check(self, precision: str = "float32") -> None:
        """Checks that the step runs on GPUs and TPUs as a whole, with convolutions in this precision.

        No operation is an exception: neither from what XLA compiles, nor, for steps that Keras leaves uncompiled, such
        as those with several GPUs, from what TensorFlow can run on a GPU.
        """
        compute_dtype = keras.dtype_policies.get(precision).compute_dtype
        if keras.backend.backend() == "jax":
            for platform in stablehlo.PLATFORMS:
                lowered = stablehlo.lower(platform, self.function, *self.shapes)
                assert lowered.custom_calls == set()
                assert set(lowered.convolutions) == {stablehlo.SHORT[compute_dtype]}
            return
        import tensorflow as tf

        from tests import kernels

        nodes = list(kernels.reached(self.graph.as_graph_def()))
        assert {device: kernels.missing(nodes, device) for device in kernels.DEVICES} == {"XLA": set(), "CUDA": set()}
        convolved = {tf.as_dtype(node.attr["T"].type).name for node in nodes if node.op.startswith("Conv2D")}
        assert convolved == {compute_dtype}


def three_updates(program: Callable, jit_compile: bool, workdir, **settings) -> tuple[dict, dict, Step]:
    """Runs a program up to its third update.

    Args:
        program: trains a network.
        jit_compile: True lets Keras decide as on a machine with a GPU, False leaves the step uncompiled.
        workdir: of the run.
        **settings: of the program.

    Returns:
        {path: weight} and {path: change of the weight} after three updates; the training step.
    """
    fit, step, found = keras.Model.fit, Step(), []

    def fit_three(model, batches, callbacks, **epochs):
        assert model.jit_compile == jit_compile
        before = [weight.numpy() for weight in model.trainable_variables]
        callbacks = [callback for callback in callbacks if isinstance(callback, HyperRuleCallback | MixUp)]
        steps = 3 * settings.get("accumulate", 1)
        fit(model, batches, steps_per_epoch=steps, callbacks=[*callbacks, step], shuffle=False, verbose=0)
        for weight, old in zip(model.trainable_variables, before):
            found.append((weight.path, weight.numpy(), weight.numpy() - old))
        raise Trained

    with pytest.MonkeyPatch.context() as patch:
        if not jit_compile:
            patch.setattr(keras.Model, "_resolve_auto_jit_compile", lambda model: False)
        elif keras.backend.backend() == "tensorflow":
            from tests import kernels

            kernels.list_a_gpu(patch)
        patch.setattr(keras.Model, "fit", fit_three)
        with pytest.raises(Trained):
            program(workdir=workdir, batch_size=4, resolution=32, **settings)
    weights, changes = ({path: array[k] for path, *array in found} for k in (0, 1))
    assert len(weights) == len(found)
    return weights, changes, step


@pytest.fixture(scope="module")
def uncompiled(tiny_npz, tmp_path_factory) -> Callable:
    """Function that returns the results of an uncompiled run, which tests with the same settings share."""
    runs = {}

    def run(program: Callable, settings: dict) -> tuple[dict, dict, Step]:
        key = program, tuple(settings.items())
        if key not in runs:
            workdir = tmp_path_factory.mktemp("uncompiled")
            runs[key] = three_updates(functools.partial(program, tiny_npz), False, workdir, **settings)
        return runs[key]

    return run


def differences(changes: dict, expected: dict) -> float:
    """Returns the median over the weights of the relative difference of their changes."""
    return np.median(
        [np.linalg.norm(changes[path] - old) / np.linalg.norm(old) for path, old in expected.items() if old.any()]
    )


# {name: (program, settings of the compiled run, those of the other run or None for the same)}. They may differ in
# micro-batches and rematerialization, which affect rounding only.
CASES = {
    "accumulate and remat": (finetune, {"accumulate": 2, "remat": True}, {}),
    "freeze and MixUp": (finetune, {"freeze": "root_block", "num_train": 20_000}, None),
    "sigmoid": (pretrain_a_convolution, {"loss": "sigmoid"}, None),
    "distillation with MixUp": (distill_into_a_convolution, {}, None),
    "ablation": (ablate, {}, None),
}


@without_torch
@pytest.mark.any_backend
@pytest.mark.parametrize("case", CASES)
def test_a_compiled_step_trains_the_same(case, uncompiled, tiny_npz, tmp_path):
    program, settings, others = CASES[case]
    if program is ablate and keras.backend.backend() == "jax":
        pytest.skip("takes long uncompiled; tests/network/test_lowering.py lowers its step")
    expected, changes, _ = uncompiled(program, settings if others is None else others)
    program = functools.partial(program, tiny_npz)
    weights, received, step = three_updates(program, True, tmp_path, **settings)
    for path, array in expected.items():
        # For weights that are initialized to 0 the value is the change, which is as inexact as the gradient.
        allowed = 1e-5 * np.abs(array).max() + 1e-3 * np.abs(changes[path]).max()
        assert np.abs(weights[path] - array).max() <= allowed, path
    assert differences(received, changes) < 1e-4
    step.check()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="jax takes minutes where it does not compile")
@pytest.mark.parametrize(
    ("program", "precision"), [(finetune, "mixed_bfloat16"), (pretrain_a_network, "mixed_float16")]
)
def test_in_half_precision_a_compiled_step_is_about_as_close_to_float32(
    program, precision, uncompiled, tiny_npz, tmp_path
):
    """Half-precision gradients depend on fusion, which changes where they are rounded, so float32 is the reference."""
    _, exact, _ = uncompiled(program, {})
    _, rounded, _ = uncompiled(program, {"precision": precision})
    program = functools.partial(program, tiny_npz)
    _, compiled, step = three_updates(program, True, tmp_path, precision=precision)
    assert 0 < differences(compiled, exact) < 2 * differences(rounded, exact) < 1
    step.check(precision)


@pytest.mark.any_backend
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras compiles by itself on the others")
@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.filterwarnings("ignore")  # warnings of the compiler about Keras
def test_torch_compiles_a_step_that_trains_the_same(remat, tiny_npz):
    images = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype("float32")
    labels = np.eye(3, dtype="float32")[np.arange(8) % 3]
    weights = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        backbone = bit_keras.BiT.from_preset(tiny_npz, remat=remat).backbone
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, keras.layers.Dense(3)(backbone(inputs)))
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=jit_compile)
        model.fit(images, labels, batch_size=4, epochs=2, shuffle=False, callbacks=[MixUp(0.1)], verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())
