"""Fine-tuning and evaluation where TensorFlow cannot be imported, and the same first step on every backend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CONSUMER = Path(__file__).parents[1] / "consumers" / "finetune_without_tensorflow.py"
SMALL = {"model": "R17x0.5", "batch_size": 16, "resolution": 16, "flip": False, "schedule": "upstream", "seed": 1}


def _run(backend: str, *runs: dict, blocked: bool = True) -> list[dict]:
    """Runs the consumer in one process; returns its record of each run."""
    variables = {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    process = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", CONSUMER, *(["--blocked"] if blocked else [])],
        input="\n".join(map(json.dumps, runs)),
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]


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


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_learns_goes_on_and_is_evaluated(backend, folder, tmp_path):
    digits = {**SMALL, "dataset": "digits", "steps": 40, "batch_size": 32, "eval_every": 40}
    of_folder = {**SMALL, "dataset": str(folder / "folder"), "steps": 12, "eval_every": 12, "random_crop": False}
    whole, killed, resumed, table, refused, tfds = _run(
        backend,
        {**digits, "workdir": str(tmp_path / "digits"), "evaluate": True},
        {**of_folder, "workdir": str(tmp_path / "cut_off"), "checkpoint_every": 1, "kill_at": 9},
        {**of_folder, "workdir": str(tmp_path / "cut_off"), "checkpoint_every": 1},
        {**of_folder, "workdir": str(tmp_path / "table"), "dataset": str(folder / "table.csv")},
        {**digits, "workdir": str(tmp_path / "exported"), "export_dir": str(tmp_path / "new")},
        {**digits, "workdir": str(tmp_path / "tfds"), "dataset": "cifar10"},
    )
    assert whole["test_accuracy"] > 0.2, "chance is 0.1"
    assert whole["evaluated"] == pytest.approx(whole["test_accuracy"])
    assert whole["tensorflow"] is False
    config = json.loads((tmp_path / "digits" / "config.json").read_text())
    assert (config["loader"], config["backend"]) == ("grain", backend)
    assert not (tmp_path / "digits" / "tensorboard").exists()
    assert (tmp_path / "digits" / "report" / "worst_mistakes.png").is_file()

    assert killed == {"error": "Killed: after 9 steps"}
    assert resumed["test_accuracy"] >= 0.75, "chance is 0.5"
    assert table["test_accuracy"] >= 0.75
    uninterrupted, ended = (
        dict(np.load(tmp_path / name / "weights.npz", allow_pickle=False)) for name in ("table", "cut_off")
    )
    for name, array in uninterrupted.items():  # folder and CSV file give the same batches
        np.testing.assert_array_equal(ended[name], array, err_msg=name)

    assert "ImportError: export_dir needs TensorFlow, which is not installed" in refused["error"]
    assert not (tmp_path / "exported").exists()
    assert "DataError: TensorFlow Datasets need TensorFlow" in tfds["error"]
    assert tfds["error"].endswith("got 'cifar10'")


def test_backends_agree_on_the_first_step(golden_npz, tmp_path):
    """Compares the loss of a new head of zeros, and those after updates, which depend on the whole network."""
    settings = {**SMALL, "model": str(golden_npz), "variant": "R17x0.5", "dataset": "digits", "steps": 5}
    settings |= {"schedule": "hyperrule", "base_lr": 0.1, "eval_every": 1, "loader": "grain"}
    losses = {}
    for backend in ("tensorflow", "jax", "torch"):
        (record,) = _run(backend, {**settings, "workdir": str(tmp_path / backend)}, blocked=backend != "tensorflow")
        losses[backend] = record["losses"][:3]  # later ones amplify rounding
    assert losses["jax"][0] == pytest.approx(np.log(10), abs=1e-4)
    assert abs(losses["jax"][-1] - np.log(10)) > 0.01
    assert losses["jax"] == pytest.approx(losses["tensorflow"], abs=1e-4)
    assert losses["torch"] == pytest.approx(losses["tensorflow"], abs=1e-4)
