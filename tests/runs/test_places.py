"""Places of a run's results that cannot work are known before anything is read or trained."""

import pytest

from bit_keras import data
from bit_keras.finetune import FinetuneConfig
from bit_keras.runs import places


@pytest.fixture
def photos(tmp_path):
    """A folder of class folders; it holds no images, which are not looked at here."""
    for name in ("birds", "fish"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    return tmp_path / "photos"


def check(dataset, workdir, export_dir=None):
    config = FinetuneConfig(model="R50x1", dataset=str(dataset), workdir=workdir, export_dir=export_dir)
    places.check_places(config, dataset)
    return config


def test_places_that_work(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    check(photos, tmp_path / "run", tmp_path / "run" / "saved_model")
    config = check("digits", "~/run", "$HOME/exported")
    assert (config.workdir, config.export_dir) == (f"{tmp_path}/run", f"{tmp_path}/exported")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("workdir", "export_dir", "message"),
    [
        ("run", "run", "workdir must not be in export_dir"),
        ("a/run", "a", "workdir must not be in export_dir"),
        ("photos/run", None, "workdir must not be in dataset"),
        ("run", "photos/birds/exported", "export_dir must not be in dataset"),
        ("run", "photos", "export_dir must not exist yet"),
        ("run", "file/exported", "export_dir cannot be written"),
        ("file", None, "workdir must be a new or empty folder"),
        ("run", "gs://bucket/exported", "export_dir must be a local path"),
        ("gs://bucket/run", None, "workdir must be a local path"),
        ("run", " ", "export_dir must be given"),
    ],
)
def test_places_that_cannot_work(workdir, export_dir, message, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises((ValueError, OSError), match=f"^{message}"):
        check("photos", workdir, export_dir)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "file"}


def test_the_folder_of_boxes_is_that_after_their_kind(photos, tmp_path):
    with pytest.raises(ValueError, match="workdir must not be in dataset"):
        check(f"voc:{photos}", photos / "run")
    check(f"coco:{photos}", tmp_path / "run")


def test_beside_the_splits_of_data_is_not_in_them(tmp_path):
    for split in ("train", "Test"):
        (tmp_path / split / "birds").mkdir(parents=True)
    check(tmp_path, tmp_path / "run")
    with pytest.raises(ValueError, match="workdir must not be in dataset"):
        check(tmp_path, tmp_path / "Test" / "run")


def test_a_run_that_began_in_its_data_continues(photos):
    (photos / "run").mkdir()
    (photos / "run" / "config.json").write_text("{}")
    check(photos, photos / "run")


def test_opened_data_are_in_no_folder():
    assert places.folders_of(data.load("digits", verbose=False)) == []
