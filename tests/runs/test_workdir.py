import json
import os

import keras
import numpy as np
import pytest

from bit_keras import data
from bit_keras.finetune import FinetuneConfig
from bit_keras.runs.workdir import claim, join

CONFIG = {"seed": 0, "data": {"name": "digits", "sizes": (8, 8)}}


def test_a_new_folder_holds_its_configuration(tmp_path):
    folder = claim(tmp_path / "runs" / "a", CONFIG)
    assert json.loads((folder / "config.json").read_text()) == {"seed": 0, "data": {"name": "digits", "sizes": [8, 8]}}


def test_the_same_run_is_let_in_again(tmp_path):
    claim(tmp_path, CONFIG)
    (tmp_path / "metrics.csv").write_text("kept")
    claim(tmp_path, CONFIG)
    assert (tmp_path / "metrics.csv").read_text() == "kept"


def test_another_configuration_is_refused_by_name(tmp_path):
    claim(tmp_path, CONFIG)
    with pytest.raises(FileExistsError, match="seed: 0 there, 1 asked for"):
        claim(tmp_path, {**CONFIG, "seed": 1})
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


def test_what_a_killed_start_left_is_no_other_run(tmp_path):
    (tmp_path / ".config.json.abc.unfinished").mkdir()
    folder = claim(tmp_path, CONFIG)
    assert sorted(os.listdir(folder)) == [".lock", "config.json"]
    folder.close()
    assert os.listdir(folder) == ["config.json"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="must be a new or empty folder"):
        claim(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_worker_joins_the_folder_of_the_same_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="all workers must share workdir"):
        join(tmp_path, CONFIG)
    claim(tmp_path, CONFIG)
    join(tmp_path, CONFIG).check()
    with pytest.raises(FileExistsError, match="seed: 0 there, 1 asked for"):
        join(tmp_path, {**CONFIG, "seed": 1})


@pytest.fixture
def birds(tmp_path, monkeypatch):
    """A folder of class folders in the current working directory."""
    random = np.random.default_rng(0)
    for name in ("crow", "owl"):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for k in range(5):
            keras.utils.save_img(tmp_path / "birds" / name / f"{k}.png", random.integers(0, 256, (12, 10, 3)))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "birds"


def _identity(dataset, **settings) -> dict:
    config = FinetuneConfig(model="R17x0.5", dataset=str(dataset), workdir="w", **settings)
    return config.identity(data.load(config.dataset))


def test_a_run_resumes_wherever_its_data_lie_and_however_they_are_called(tmp_path, birds):
    claim(tmp_path / "run", _identity("birds"))
    claim(tmp_path / "run", _identity("./birds", data_dir="/one/disk", manual_dir="/archives"))
    moved = birds.rename(tmp_path / "moved")
    claim(tmp_path / "run", _identity(moved, data_dir="/other/disk"))
    (moved / "owl" / "4.png").unlink()
    with pytest.raises(FileExistsError, match=r"data: \{'name': 'birds', .*'name': 'moved', .*fingerprint"):
        claim(tmp_path / "run", _identity(moved))


def test_a_run_of_an_earlier_version_resumes(tmp_path, birds):
    identity = _identity("birds")
    assert not {"dataset", "data_dir", "manual_dir"} & set(identity)
    before = {"dataset": "/some/where/birds", "data_dir": "/one/disk", **identity}
    folder = tmp_path / "run"
    claim(folder, before)
    claim(folder, identity)
    join(folder, identity)
    assert json.loads((folder / "config.json").read_text()) == before
    with pytest.raises(FileExistsError, match="seed: 0 there, 1 asked for") as refused:
        claim(folder, {**identity, "seed": 1})
    assert "disk" not in str(refused.value)


def test_without_a_description_of_the_data_their_name_tells_runs_apart(tmp_path):
    claim(tmp_path, {"dataset": "digits"})
    with pytest.raises(FileExistsError, match="dataset: 'digits' there, 'cifar10' asked for"):
        claim(tmp_path, {"dataset": "cifar10"})
