"""Fine-tuning and evaluation where TensorFlow cannot be imported, and the same first step on every backend."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bit_keras.checkpoints import read_npz

CONSUMER = Path(__file__).parents[1] / "consumers" / "finetune_without_tensorflow.py"
SMALL = {"model": "tiny", "batch_size": 16, "resolution": 16, "flip": False, "schedule": "upstream", "seed": 1}


def _run(backend: str, runs: dict[str, dict], cache: Path) -> dict[str, dict]:
    """Runs the consumer in one process, without TensorFlow on other backends; returns its record of each run."""
    variables = {
        "KERAS_BACKEND": backend,
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(cache),  # several runs compile the same programs
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "OMP_NUM_THREADS": "1",  # torch: the threads would only wait for each other
    }
    process = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", CONSUMER, *(["--blocked"] if backend != "tensorflow" else [])],
        input="\n".join(map(json.dumps, runs.values())),
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    records = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    return dict(zip(runs, records, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two classes, bright and dark, as PNG and JPEG files; and a CSV file that lists them."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    rows = ["path,label"]
    for label, low in {"bright": 150, "dark": 0}.items():
        for number in range(20):
            path = root / "folder" / label / f"{number}.{('png', 'jpg')[number % 2]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(low, low + 100, (12, 10, 3), np.uint8)).save(path)
            rows.append(f"folder/{label}/{path.name},{label}")
    (root / "table.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def records(folder, tiny_npz, tmp_path_factory) -> Callable[[str], tuple[Path, dict[str, dict]]]:
    """Function of a backend that makes all its runs; it returns their folder and their records."""
    digits = {**SMALL, "dataset": "digits", "steps": 40, "batch_size": 32, "eval_every": 40}
    of_folder = {**SMALL, "dataset": str(folder / "folder"), "steps": 12, "eval_every": 12, "random_crop": False}
    cut_off = {**of_folder, "workdir": "cut_off", "checkpoint_every": 4}
    first = {**SMALL, "model": str(tiny_npz), "variant": "tiny", "dataset": "digits", "num_test": 16, "steps": 5}
    first |= {"schedule": "hyperrule", "base_lr": 0.1, "eval_every": 1, "loader": "grain"}
    without_tensorflow = {
        "whole": {**digits, "workdir": "digits", "evaluate": True},
        "killed": {**cut_off, "kill_at": 9},
        "resumed": cut_off,
        "table": {**of_folder, "workdir": "table", "dataset": str(folder / "table.csv")},
        "refused": {**digits, "workdir": "exported", "export_dir": str(folder / "new")},
        "tfds": {**digits, "workdir": "tfds", "dataset": "cifar10"},
    }

    @functools.cache
    def make(backend: str) -> tuple[Path, dict[str, dict]]:
        root = tmp_path_factory.mktemp(backend)
        runs = {"first": {**first, "workdir": "first"}, **({} if backend == "tensorflow" else without_tensorflow)}
        runs = {name: {**run, "workdir": str(root / run["workdir"])} for name, run in runs.items()}
        return root, _run(backend, runs, root / "compiled")

    return make


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_learns_goes_on_and_is_evaluated(backend, records):
    root, of = records(backend)
    whole, killed, resumed, table, refused, tfds = (
        of[name] for name in ("whole", "killed", "resumed", "table", "refused", "tfds")
    )
    assert whole["test_accuracy"] > 0.2, "chance is 0.1"
    assert whole["evaluated"] == pytest.approx(whole["test_accuracy"])
    assert whole["tensorflow"] is False
    config = json.loads((root / "digits" / "config.json").read_text())
    assert (config["loader"], config["backend"]) == ("grain", backend)
    assert not (root / "digits" / "tensorboard").exists()
    assert (root / "digits" / "report" / "worst_mistakes.png").is_file()

    assert killed == {"error": "Killed: after 9 steps"}
    assert resumed["test_accuracy"] >= 0.75, "chance is 0.5"
    assert table["test_accuracy"] >= 0.75
    uninterrupted, ended = (read_npz(root / name / "weights.npz") for name in ("table", "cut_off"))
    for name, array in uninterrupted.items():  # folder and CSV file give the same batches
        np.testing.assert_array_equal(ended[name], array, err_msg=name)

    assert "ImportError: export_dir needs the package tensorflow, which is not installed" in refused["error"]
    assert not (root / "exported").exists()
    assert "ImportError: 'cifar10' of TensorFlow Datasets needs the package tensorflow" in tfds["error"]


def test_backends_agree_on_the_first_step(records):
    """Compares the loss of a new head of zeros, and those after updates, which depend on the whole network."""
    losses = {}
    for backend in ("tensorflow", "jax", "torch"):
        _, of = records(backend)
        losses[backend] = of["first"]["losses"][:3]  # later ones amplify rounding
    assert losses["jax"][0] == pytest.approx(np.log(10), abs=1e-4)
    assert abs(losses["jax"][-1] - np.log(10)) > 0.01
    assert losses["jax"] == pytest.approx(losses["tensorflow"], abs=1e-4)
    assert losses["torch"] == pytest.approx(losses["tensorflow"], abs=1e-4)
