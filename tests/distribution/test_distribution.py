"""Settings of engines, and synchronization of workers; `tests/finetune/test_finetune_distributed.py` trains."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from bit_keras.distribution import (
    DISTRIBUTIONS,
    Distribution,
    DistributionError,
    check_batch,
    count_devices,
    has_other_workers,
    mixup_parts,
    start_distribution,
)
from bit_keras.distribution.environment import _JAX_PROCESSES, read_jax_processes, read_tf_config
from bit_keras.rules import MixUp

CONSUMERS = Path(__file__).parents[1] / "consumers"
CLUSTER = {"worker": ["a:1", "b:1", "c:1"]}


@pytest.mark.any_backend
def test_engines_of_other_backends_are_refused_by_name():
    backend = keras.backend.backend()
    for kind, needed in DISTRIBUTIONS.items():
        if needed not in (None, backend):
            for ask in (count_devices, start_distribution):
                with pytest.raises(ValueError, match=rf"{kind}.* is for the {needed} backend, and this is {backend}"):
                    ask(kind)
    with pytest.raises(ValueError, match=r"KERAS_BACKEND.*'mirrored' .tensorflow.*'data_parallel' .jax."):
        count_devices("mirrored" if backend != "tensorflow" else "data_parallel")


@pytest.mark.any_backend
@pytest.mark.parametrize("ask", [check_batch, count_devices, has_other_workers, mixup_parts, start_distribution])
def test_an_unknown_kind_is_refused_by_name(ask):
    more = {check_batch: (8, 512), mixup_parts: (8,)}
    with pytest.raises(ValueError, match=r"kind must be one of none, mirrored, .*; got 'gpus'"):
        ask("gpus", *more.get(ask, ()))


@pytest.mark.any_backend
def test_one_device_is_as_ever():
    alone = start_distribution("none")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    assert alone.predictor(model) is alone.plain(model) is model
    assert alone.feed(lambda shard: shard, 8) == (0, 1)
    assert alone.maximum(7) == 7
    assert alone.in_turn(lambda: "chief", lambda: "other") == "chief"
    assert count_devices("none") == 1


def test_there_is_no_tpu_here():
    with pytest.raises(DistributionError, match="distribute='tpu' needs a TPU, and TensorFlow found none"):
        start_distribution("tpu")
    assert count_devices("tpu") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mirrored", 1, 8), "'mirrored' needs 2 devices or more, got 1"),
        (("data_parallel", 3, 8), "3 devices must divide the batch equally, got batch_size 8$"),
        (("data_parallel", 4, 8, 4), "4 devices must divide .* got batch_size 8 in 4 micro-batches of 2"),
        (("multi_worker", 2, 8, 2), "accumulate must be 1 .*got 2: .*'data_parallel' on the jax backend does"),
    ],
)
def test_batches_that_devices_cannot_share(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_batch(*arguments)
    check_batch("none", 1, 7)
    check_batch("data_parallel", 4, 16, 4)


@pytest.mark.parametrize(
    ("cluster", "task", "is_chief"),
    [
        (CLUSTER, {"type": "worker", "index": 0}, True),
        (CLUSTER, {"type": "worker", "index": 2}, False),
        ({"chief": ["d:1"], **CLUSTER}, {"type": "worker", "index": 0}, False),
        ({"chief": ["d:1"], **CLUSTER}, {"type": "chief", "index": "0"}, True),
    ],
)
def test_tf_config(monkeypatch, cluster, task, is_chief):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert read_tf_config() == ([*cluster.get("chief", []), "a:1", "b:1", "c:1"], is_chief)
    assert count_devices("multi_worker") == len(cluster.get("chief", [])) + 3


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"cluster": CLUSTER}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 3}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": -1}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "evaluator", "index": 0}}),
        json.dumps({"cluster": {**CLUSTER, "ps": ["d:1"]}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}),
    ],
)
def test_malformed_tf_config(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG must look like"):
        start_distribution("multi_worker")


def test_missing_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r'needs the environment variable TF_CONFIG, for example .\{"cluster"'):
        count_devices("multi_worker")


def _set_jax_processes(monkeypatch, *values):
    for name, value in zip(_JAX_PROCESSES, values):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)


def test_settings_of_jax_processes(monkeypatch):
    _set_jax_processes(monkeypatch, None, None, None)
    assert read_jax_processes() is None
    _set_jax_processes(monkeypatch, "a:1", "2", "1")
    assert read_jax_processes() == 2
    _set_jax_processes(monkeypatch, "a:1", None, "1")
    with pytest.raises(ValueError, match=r"go together, got .*ADDRESSES, .*PROCESS_ID without .*NUM_PROCESSES"):
        read_jax_processes()
    for values in (("a", "2", "1"), ("a:1", "two", "1"), ("a:1", "2", "2"), ("a:1", "2", "-1")):
        _set_jax_processes(monkeypatch, *values)
        with pytest.raises(ValueError, match="must be the address of the first process with its port"):
            read_jax_processes()


class _Worker(Distribution):
    """A worker simulated by a thread."""

    def __init__(self, index: int, numbers: list[int], barrier: threading.Barrier):
        self.is_chief = index == 0
        self._index, self._numbers, self._barrier = index, numbers, barrier

    def maximum(self, number):
        self._numbers[self._index] = number
        self._barrier.wait(10)
        largest = max(self._numbers)
        self._barrier.wait(10)
        return largest


def _take_turns(on_chief, on_others) -> list:
    return _in_threads(lambda worker: worker.in_turn(on_chief, on_others))


def _in_threads(function) -> list:
    """Returns what each of three workers returned or raised."""
    numbers, barrier, results = [0] * 3, threading.Barrier(3), [None] * 3

    def work(index):
        try:
            results[index] = function(_Worker(index, numbers, barrier))
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_the_chief_comes_first():
    done = []
    assert _take_turns(lambda: done.append("chief") or 1, lambda: done.append("other") or 2) == [1, 2, 2]
    assert done == ["chief", "other", "other"]


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
def test_an_error_of_one_worker_ends_all(kind):
    def fail():
        raise kind

    done = []
    chief, *others = _take_turns(fail, lambda: done.append("other"))
    assert isinstance(chief, kind)
    assert all(isinstance(error, DistributionError) for error in others)
    assert not done
    chief, *others = _take_turns(lambda: done.append("chief"), fail)
    assert isinstance(chief, DistributionError)
    assert all(isinstance(error, kind) for error in others)
    assert done == ["chief"]


def test_the_own_error_is_raised_even_if_the_others_are_lost():
    class Alone(Distribution):
        def maximum(self, number):
            raise DistributionError("another worker is lost")

    def fail():
        raise MemoryError("no memory")

    with pytest.raises(MemoryError, match="no memory"):
        Alone().in_turn(fail)
    with pytest.raises(DistributionError, match="another worker is lost"):
        Alone().in_turn(lambda: None)


def test_a_lost_worker_is_distinguished_from_other_errors():
    import tensorflow as tf

    from bit_keras.distribution.engine_tf import Strategy

    strategy = Strategy.__new__(Strategy)  # without connecting to workers
    strategy._has_workers = True
    for error in (tf.errors.UnavailableError, tf.errors.AbortedError):
        with pytest.raises(DistributionError, match="another worker is lost"), strategy._together():
            raise error(None, None, "Socket closed")
    with pytest.raises(tf.errors.ResourceExhaustedError), strategy._together():
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")


def test_what_is_done_everywhere_is_done_by_the_chief_first():
    done = []

    def work():
        done.append(threading.current_thread().name)
        return len(done)

    chief, *others = _in_threads(lambda worker: worker.everywhere(work))
    assert chief == 1
    assert sorted(others) == [2, 3]


def _mixed_on_two_devices(backend: str, alpha: float, seed: int, step: int) -> np.ndarray:
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(CONSUMERS.parents[1]), *sys.path]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    command = [sys.executable, CONSUMERS / "mixup_devices.py", *map(str, (alpha, seed, step))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout.splitlines()[-1]))


def test_mixup_gives_each_replica_a_draw_of_its_own():
    images, labels = np.ones((8, 2, 2, 3), "float32"), np.eye(8, dtype="float32")
    mixup = MixUp(5.0, 2)
    drawn = [mixup.mix(images, labels, step=2 * 3 + replica)[1] for replica in range(2)]
    np.testing.assert_array_equal(_mixed_on_two_devices("tensorflow", 5.0, 2, 3), drawn)
    assert np.diag(drawn[0])[0] != np.diag(drawn[1])[0]


def test_mixup_of_a_divided_batch_is_that_of_the_whole():
    divided, whole = _mixed_on_two_devices("jax", 5.0, 2, 3)
    np.testing.assert_allclose(divided, whole, rtol=1e-6)
    assert (whole.max(axis=1) < 1).any()


def test_processes_that_train_one_network_together(monkeypatch):
    assert [kind for kind in DISTRIBUTIONS if has_other_workers(kind)] == ["multi_worker"]
    for name, value in zip(_JAX_PROCESSES, ("a:1", "2", "0"), strict=True):
        monkeypatch.setenv(name, value)
    assert [kind for kind in DISTRIBUTIONS if has_other_workers(kind)] == ["multi_worker", "data_parallel"]
