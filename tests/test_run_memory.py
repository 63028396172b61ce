"""A process that trains one network after the other keeps none of them."""

import gc

import keras
import pytest

from benchmarks import run_memory

pytestmark = [pytest.mark.any_backend, pytest.mark.usefixtures("tiny")]
BACKEND = keras.backend.backend()
FIRST = 1  # runs that fill caches


def alive() -> dict[str, int]:
    """Number of objects of each kind that a run makes and that must not outlive it."""
    for _ in range(3):  # what holds another object is found once that object is collected
        gc.collect()
    objects = gc.get_objects()  # by type: isinstance asks each object, and some of them warn
    kinds = (keras.layers.Layer, keras.Variable, keras.optimizers.Optimizer, keras.callbacks.Callback)
    counts = {kind.__name__: sum(issubclass(type(each), kind) for each in objects) for kind in kinds}
    return counts | _OF_BACKEND[BACKEND](objects)


def _of_tensorflow(objects) -> dict[str, int]:
    from tensorflow.python.eager import context
    from tensorflow.python.framework.func_graph import FuncGraph
    from tensorflow.python.framework.ops import gradient_registry

    return {
        "graphs": sum(issubclass(type(each), FuncGraph) for each in objects),
        "functions": len(context.context().list_function_names()),
        "gradients": len(gradient_registry.list()),
    }


def _of_jax(objects) -> dict[str, int]:
    import jax

    client = jax.devices()[0].client
    return {"arrays": len(jax.live_arrays()), "compiled programs": len(client.live_executables())}


def _of_torch(objects) -> dict[str, int]:
    import torch

    return {"tensors": sum(issubclass(type(each), torch.Tensor) for each in objects)}


_OF_BACKEND = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}


@pytest.fixture(scope="module")
def runs(tiny) -> list[tuple[float, dict[str, int]]]:
    """The resident memory and the live objects after each of three runs."""
    settings = {"resolution": 16, "batch_size": 8, "steps": 5, "eval_every": 5, "verbose": False}
    return [(megabytes, alive()) for megabytes in run_memory.memory_after(FIRST + 2, "tiny", **settings)]


def test_nothing_of_a_run_stays_alive(runs):
    counts = [counts for _, counts in runs]
    assert counts[FIRST:] == [counts[FIRST - 1]] * 2


def test_the_benchmark_measures_the_memory_of_this_process(runs):
    assert all(100 < megabytes < 10_000 for megabytes, _ in runs)
    before = run_memory.resident()
    block = bytearray(b"x" * 200_000_000)
    assert 190 < run_memory.resident() - before < 210
    del block


def test_the_verdict_is_that_of_the_ratio():
    assert run_memory.verdict(1000, 1199, 200) == "memory after run 200 / after run 10 = 1.199: PASS"
    assert run_memory.verdict(1000, 1201, 50) == "memory after run 50 / after run 10 = 1.201: over 1.2"
