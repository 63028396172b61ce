import json

import pytest

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
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="must be a new or empty folder"):
        claim(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_worker_joins_the_folder_of_the_same_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="all workers must share workdir"):
        join(tmp_path, CONFIG)
    claim(tmp_path, CONFIG)
    assert join(tmp_path, CONFIG) == tmp_path
    with pytest.raises(FileExistsError, match="seed: 0 there, 1 asked for"):
        join(tmp_path, {**CONFIG, "seed": 1})
