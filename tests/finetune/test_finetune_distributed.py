"""Fine-tuning on several devices and in several processes gives the results of one device."""

import contextlib
import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bit_keras import data
from bit_keras.checkpoints import read_npz
from bit_keras.finetune import finetuner

pytestmark = pytest.mark.usefixtures("tiny")

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "consumers" / "finetune_distributed.py"

# Neither the batch size nor the number of devices divides 13. Few training examples: no MixUp.
NUM_TRAIN, NUM_TEST = 40, 13
SETTINGS = {"variant": "tiny", "steps": 6, "eval_every": 3, "batch_size": 8, "resolution": 16, "base_lr": 0.3}


def _arrays(num_train: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "train_images": random.integers(0, 256, (num_train, 4, 4, 3), np.uint8),
        "train_labels": np.arange(num_train) % 10,
        "test_images": random.integers(0, 256, (NUM_TEST, 4, 4, 3), np.uint8),
        "test_labels": np.arange(NUM_TEST) % 10,
    }


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "few.npz", **_arrays(NUM_TRAIN))
    np.savez(folder / "many.npz", **_arrays(20_000))
    return folder


@contextlib.contextmanager
def _program(data_folder: Path, tiny_npz: Path, **variables: str) -> Iterator[Callable[..., list[list[str]]]]:
    """Starts the program and yields a function of one list of runs and one environment per process.

    The function returns the lines that each process printed.
    """
    path = os.pathsep.join([str(ROOT), *sys.path])
    program = subprocess.Popen(
        [sys.executable, "-W", "ignore", PROGRAM],
        env={**os.environ, "PYTHONPATH": path, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )

    def complete(run: dict) -> dict:
        given = {"model": str(tiny_npz), **SETTINGS, **run, "workdir": str(run["workdir"])}
        return {**given, "data": str(data_folder / f"{given.get('data', 'few')}.npz")}

    def finetune(runs: list[list[dict]], variables: list[dict[str, str]]) -> list[list[str]]:
        processes = [
            {"runs": [complete(run) for run in mine], "variables": environment}
            for mine, environment in zip(runs, variables, strict=True)
        ]
        program.stdin.write(json.dumps(processes) + "\n")
        said = json.loads(program.stdout.readline())
        for status, _, errors in said:
            assert status == 0, errors
        return [[line for line in output.splitlines() if "[Gloo]" not in line] for _, output, _ in said]

    yield finetune
    program.communicate()


@pytest.fixture(scope="module")
def on_tensorflow(data_folder, tiny_npz) -> Iterator[Callable]:
    with _program(data_folder, tiny_npz, KERAS_BACKEND="tensorflow") as finetune:
        yield finetune


@pytest.fixture(scope="module")
def on_jax(data_folder, tiny_npz, tmp_path_factory) -> Iterator[Callable]:
    # Most processes compile the same programs.
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    with _program(data_folder, tiny_npz, KERAS_BACKEND="jax", **cache) as finetune:
        yield finetune


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _tf_workers() -> list[dict[str, str]]:
    cluster = {"worker": [f"127.0.0.1:{port}" for port in _free_ports(2)]}
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    return [{"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})} for task in tasks]


def _jax_processes() -> list[dict[str, str]]:
    (port,) = _free_ports(1)
    return [
        {
            **_jax(1),
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
        }
        for index in range(2)
    ]


def _jax(devices: int) -> dict[str, str]:
    flags = f"--xla_backend_optimization_level=0 --xla_force_host_platform_device_count={devices}"
    return {"XLA_FLAGS": flags}


@pytest.fixture(scope="module")
def tensorflow_runs(on_tensorflow, tmp_path_factory) -> Path:
    """Folder of the runs "one" (one device) and "mirrored" (two devices; interrupted after step 2 and resumed)."""
    folder = tmp_path_factory.mktemp("tensorflow")
    mirrored = {"workdir": folder / "mirrored", "distribute": "mirrored"}
    runs = [{"workdir": folder / "one"}, {**mirrored, "signal_at": 2}, mirrored]
    ((_, cut, resumed),) = on_tensorflow([runs], [{"LOGICAL_CPUS": "2"}])
    assert cut == "stopped by SIGTERM; the state is saved"
    assert json.loads(resumed)["shape"] == [3, 10]
    return folder


@pytest.fixture(scope="module")
def jax_runs(on_jax, tmp_path_factory) -> Path:
    """Like `tensorflow_runs`: "one", and "four" (four devices, which accumulate two micro-batches)."""
    folder = tmp_path_factory.mktemp("jax")
    four = {"workdir": folder / "four", "distribute": "data_parallel", "accumulate": 2}
    runs = [{"workdir": folder / "one"}, {**four, "signal_at": 3}, four]
    ((_, cut, resumed),) = on_jax([runs], [_jax(4)])
    assert cut == "stopped by SIGTERM; the state is saved"
    assert json.loads(resumed)["shape"] == [3, 10]
    return folder


def _rows(workdir: Path) -> list[dict[str, str]]:
    with open(workdir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def _assert_same_run(first: Path, second: Path, tiny_npz: Path) -> None:
    """Compares weights, logs and the final evaluation."""
    before, a, b = (read_npz(path) for path in (tiny_npz, first / "weights.npz", second / "weights.npz"))
    assert set(a) == set(b)
    for key, weights in a.items():
        np.testing.assert_allclose(b[key], weights, rtol=0, atol=1e-5 * np.abs(weights).max(), err_msg=key)
    moved = [np.abs(a[key] - before[key]).max() / np.abs(a[key]).max() for key in a if "kernel" in key]
    assert min(moved) > 1e-4, "the tolerance must be small beside what training does"
    for mine, theirs in zip(_rows(first), _rows(second), strict=True):
        assert set(mine) == set(theirs)
        for name in ("step", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy"):
            assert float(theirs[name]) == pytest.approx(float(mine[name]), rel=1e-5), name
    mine, theirs = (json.loads((folder / "report" / "summary.json").read_text()) for folder in (first, second))
    assert mine["test_examples"] == theirs["test_examples"] == NUM_TEST
    assert theirs["test_accuracy"] == mine["test_accuracy"]
    assert theirs["test_loss"] == pytest.approx(mine["test_loss"], rel=1e-5)
    # Only the chief wrote files, and none is unfinished.
    assert sorted(path.name for path in second.iterdir()) == sorted(path.name for path in first.iterdir())
    assert not list(second.rglob(".*"))
    writers = {path.name.split(".")[5] for path in (second / "tensorboard" / "train").iterdir()}  # process ids
    assert len(writers) == 1


def test_mirrored_and_resumed(tensorflow_runs, tiny_npz):
    _assert_same_run(tensorflow_runs / "one", tensorflow_runs / "mirrored", tiny_npz)


def test_jax_devices_accumulating_and_resumed(jax_runs, tiny_npz):
    _assert_same_run(jax_runs / "one", jax_runs / "four", tiny_npz)


def test_workers_of_tf_distribute(on_tensorflow, tensorflow_runs, tiny_npz):
    """A signal to one worker ends all of them after the same step; resumed, they give the results of one device."""
    workdir = tensorflow_runs / "workers"
    run = {"workdir": workdir, "distribute": "multi_worker"}
    said = on_tensorflow([[run, run], [{**run, "signal_at": 2}, run]], _tf_workers())
    for cut, resumed in said:
        assert cut == "stopped by SIGTERM; the state is saved"
        assert json.loads(resumed)["shape"] == [3, 10]
    _assert_same_run(tensorflow_runs / "one", workdir, tiny_npz)


def test_processes_of_jax(on_jax, jax_runs, tiny_npz):
    workdir = jax_runs / "processes"
    run = {"workdir": workdir, "distribute": "data_parallel"}
    said = on_jax([[run, run], [{**run, "signal_at": 2}, run]], _jax_processes())
    for cut, resumed in said:
        assert cut == "stopped by SIGTERM; the state is saved"
        assert json.loads(resumed)["shape"] == [3, 10]
    _assert_same_run(jax_runs / "one", workdir, tiny_npz)


def test_workers_of_different_settings_end_together(on_jax, tmp_path):
    runs = [[{"workdir": tmp_path / "run", "distribute": "data_parallel", "seed": seed}] for seed in range(2)]
    for said in on_jax(runs, _jax_processes()):
        assert said == ["DistributionError: all workers must have the same settings and data"]
    assert not (tmp_path / "run").exists()


def test_mixup_on_replicas_is_part_of_the_run(on_tensorflow, tmp_path):
    """With MixUp the results depend on the number of replicas, which is thus part of the run's identity."""
    run = {"workdir": tmp_path / "run", "steps": 5, "eval_every": 5, "data": "many", "base_lr": 0.01}
    ((mixed, refused, *_),) = on_tensorflow([[{**run, "distribute": "mirrored"}, run]], [{"LOGICAL_CPUS": "2"}])
    assert json.loads(mixed)["shape"] == [3, 10]
    assert float(_rows(tmp_path / "run")[-1]["loss"]) < 5
    assert refused.startswith("FileExistsError")


def test_dry_run_says_on_how_many_devices(monkeypatch, tiny_npz, tmp_path):
    cluster = {"worker": ["a:1", "b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}))
    source = data.from_arrays(*_arrays(NUM_TRAIN).values())
    arguments = {"model": str(tiny_npz), "dataset": source, "workdir": tmp_path / "run", "distribute": "multi_worker"}
    text = finetuner.dry_run(**arguments, batch_size=9)
    assert "devices    3 (multi_worker)" in text.splitlines()
    assert "activations per device" in text
    assert "devices    those of the TPU (tpu)" in finetuner.dry_run(**{**arguments, "distribute": "tpu"}).splitlines()
    with pytest.raises(ValueError, match="3 devices must divide the batch equally, got batch_size 8"):
        finetuner.dry_run(**arguments, batch_size=8)
    with pytest.raises(ValueError, match="'mirrored' needs 2 devices or more, got 1"):
        finetuner.run(**{**arguments, "distribute": "mirrored"})
    assert not (tmp_path / "run").exists()
