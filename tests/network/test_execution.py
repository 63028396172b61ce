"""How functions run, and the cache of programs."""

import collections
import concurrent.futures
import contextlib
import functools
import gc

import keras
import numpy as np
import pytest

from bit_keras.network import execution
from bit_keras.network.layers import GroupNormalization, StandardizedConv2D

any_backend = pytest.mark.any_backend
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="programs are TensorFlow's")

SMALL, LARGE = (2, 8, 8, 32), (8, 64, 64, 32)


@any_backend
def test_functions_run_plain_on_jax_and_by_size_on_tensorflow():
    if keras.backend.backend() == "torch":  # which derives its gradients
        assert execution.runner(True, SMALL) is execution.runner(True, LARGE) is None
    elif keras.backend.backend() == "tensorflow":
        assert execution.runner(True, SMALL) is execution.shared
        assert execution.runner(True, LARGE) is execution.compiled
        assert execution.runner(True, (None, 64, 64, 32)) is execution.compiled  # an unknown batch size counts as 32
    else:
        assert execution.runner(True, SMALL) is execution.runner(True, LARGE) is execution.plain


@tensorflow_only
@pytest.mark.parametrize("has_gpu", [False, True])
def test_what_is_faster_on_cpus_is_used_on_cpus_only(has_gpu, monkeypatch):
    """Shared functions, XLA programs, matrix products for 1x1 convolutions, patches for a kernel's gradient."""
    import tensorflow as tf

    from tests import kernels

    if has_gpu:
        kernels.list_a_gpu(monkeypatch)
    monkeypatch.setattr(execution, "XLA_MINIMUM", 2 * 4 * 4 * 8)
    layers = [GroupNormalization(2, activation="relu"), StandardizedConv2D(4, 1), StandardizedConv2D(4, 3, 2)]
    keras.Sequential(layers).build((None, None, None, 8))

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = images
            for layer in layers:
                outputs = layer(outputs, training=True)
        return outputs, tape.gradient(outputs, [images, *(layer.weights[0].value for layer in layers)])

    graph = step.get_concrete_function(tf.TensorSpec((2, 4, 4, 8))).graph.as_graph_def()
    counts = collections.Counter(node.op for node in kernels.reached(graph))
    shared = sum("_noinline" in function.attr for function in graph.library.function)
    if has_gpu:
        assert shared == counts["XlaLaunch"] == 0
        assert (counts["Conv2D"], counts["Conv2DBackpropInput"], counts["Conv2DBackpropFilter"]) == (2, 2, 2)
        assert counts["MatMul"] == counts["ExtractImagePatches"] == counts["PartitionedCall"] == 0
    else:
        assert min(shared, counts["XlaLaunch"]) > 0
        assert (counts["Conv2D"], counts["Conv2DBackpropInput"], counts["Conv2DBackpropFilter"]) == (1, 1, 0)
        assert (counts["MatMul"], counts["ExtractImagePatches"]) == (4, 1)


@any_backend
def test_a_benchmark_overrules_the_choice(monkeypatch):
    is_tensorflow = keras.backend.backend() == "tensorflow"
    if is_tensorflow:
        from tests import kernels

        kernels.list_a_gpu(monkeypatch)
    plain = None if keras.backend.backend() == "torch" else execution.plain
    on_cpus = execution.shared if is_tensorflow else plain
    is_jax = keras.backend.backend() == "jax"
    with execution.choose("as on CPUs"):
        assert execution.runner(True, SMALL) is on_cpus
        assert execution.prefers_products() == is_jax
        with execution.choose("plain"):
            assert execution.runner(True, SMALL) is plain
            assert not execution.prefers_products()
        assert execution.runner(True, SMALL) is on_cpus, "the inner choice ends with its block"
        with concurrent.futures.ThreadPoolExecutor() as pool:  # as tf.distribute traces replicas
            assert pool.submit(execution.runner, True, SMALL).result() is on_cpus
    assert execution.runner(True, SMALL) is plain
    monkeypatch.undo()
    with contextlib.suppress(KeyError), execution.choose("plain"):
        assert execution.runner(True, LARGE) is plain
        raise KeyError
    assert execution.runner(True, LARGE) is (execution.compiled if is_tensorflow else plain)
    with pytest.raises(ValueError, match=r"choice must be one of plain, as on CPUs; got 'fast'"):
        execution.choose("fast").__enter__()


@any_backend
def test_the_backend_derives_gradients_outside_of_training_and_in_portable_graphs():
    assert execution.runner(False, LARGE) is execution.runner(None, LARGE) is None
    with execution.portable():
        assert execution.runner(True, LARGE) is None
        assert not execution.prefers_products()
    with execution.in_training(True):
        assert execution.runner(None, LARGE) is execution.runner(True, LARGE)
        assert (execution.runner(True, LARGE) is None) == (keras.backend.backend() == "torch")
        assert execution.runner(False, LARGE) is None
    assert execution.runner(None, LARGE) is None


@any_backend
def test_only_large_tensors_offer_to_be_recomputed(monkeypatch):
    tensor = keras.ops.ones((2, 3))
    monkeypatch.setattr(execution, "RECOMPUTE_MINIMUM", 7)
    if keras.backend.backend() != "jax":  # whose arrays have no attributes, and need none
        execution.offer_recomputation(tensor, list)
        assert execution.recomputation_of(tensor) is None
        monkeypatch.setattr(execution, "RECOMPUTE_MINIMUM", 6)
        execution.offer_recomputation(tensor, list)
        assert execution.recomputation_of(tensor) is list
    assert execution.recomputation_of(tensor + 1) is None


def _step(run_as_graph: bool = False, drop: bool = False):
    """A function from images to the outputs of a normalization and a convolution, and all gradients."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    norm, conv = GroupNormalization(2, activation="relu"), StandardizedConv2D(4, 1)
    conv(norm(np.zeros((1, 1, 1, 8), "float32")))

    def step(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            features = norm(images, training=True)
            assert execution.recomputation_of(features) is not None
            features = tf.identity(features) if drop else features
            assert (execution.recomputation_of(features) is None) == drop
            outputs = conv(features, training=True)
        variables = [weight.value for layer in (norm, conv) for weight in layer.weights]
        return outputs, tape.gradient(outputs, [images, *variables], tf.cos(outputs))

    return tf.function(step) if run_as_graph else step


def _run(step, side: int) -> list[np.ndarray]:
    import tensorflow as tf

    images = np.random.default_rng(side).normal(size=(2, side, side, 8)).astype("float32")
    outputs, gradients = step(tf.constant(images))
    return [tensor.numpy() for tensor in (outputs, *gradients)]


def _assert_equal(received: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(received) == len(expected) == 5
    for a, b in zip(received, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@tensorflow_only
def test_a_tensor_whose_offer_is_dropped_is_saved_with_the_same_result(monkeypatch):
    monkeypatch.setattr(execution, "RECOMPUTE_MINIMUM", 0)
    _assert_equal(_run(_step(drop=True), 6), _run(_step(drop=False), 6))


@tensorflow_only
@pytest.mark.parametrize("xla_minimum", [0, 2**60])
def test_a_compiled_step_may_contain_them_on_a_cpu(monkeypatch, xla_minimum):
    """As with `model.compile(jit_compile=True)`; with a GPU Keras compiles steps of plain operations."""
    import tensorflow as tf

    monkeypatch.setattr(execution, "RECOMPUTE_MINIMUM", 0)
    monkeypatch.setattr(execution, "XLA_MINIMUM", xla_minimum)
    expected, received = _run(_step(), 4), _run(tf.function(_step(), jit_compile=True), 4)
    for a, b in zip(received, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


@tensorflow_only
def test_the_cache_of_programs_is_bounded():
    assert execution._program.cache_info().maxsize == execution.MAX_PROGRAMS


@tensorflow_only
@pytest.mark.parametrize(("xla_minimum", "run_as_graph"), [(0, False), (2**60, True)])
def test_results_stay_right_after_eviction(monkeypatch, xla_minimum, run_as_graph):
    monkeypatch.setattr(execution, "RECOMPUTE_MINIMUM", 0)
    monkeypatch.setattr(execution, "XLA_MINIMUM", xla_minimum)
    expected = _run(_step(run_as_graph), 4)
    monkeypatch.setattr(execution, "_program", functools.lru_cache(1)(execution._program.__wrapped__))
    step = _step(run_as_graph)
    for _ in range(2):
        _assert_equal(_run(step, 4), expected)
        gc.collect()  # frees the programs that were evicted
    info = execution._program.cache_info()
    assert info.currsize == 1
    assert info.misses > 1
