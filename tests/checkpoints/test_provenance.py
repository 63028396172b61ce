"""The provenance of weights, and the resolutions that follow from it."""

import json
import zipfile
from types import SimpleNamespace

import pytest

from bit_keras import BiT
from bit_keras.checkpoints import provenance
from bit_keras.zoo.presets import PRESETS

HYPERRULE = (480, "the HyperRule's")


@pytest.fixture
def run(tmp_path):
    """Returns a function that creates the folder of a run."""

    def make(resolution, crop=None):
        config = {"data": {"kind": "arrays"}, "backend": "torch", "resolution": resolution}
        (tmp_path / "config.json").write_text(json.dumps(config))
        if crop is not None:
            provenance.write_task(tmp_path, crop, ["a", "b"])
        return tmp_path

    return make


@pytest.mark.parametrize("name", ["weights.npz", "best.npz", "weights.safetensors", "best.weights.h5"])
def test_the_setting_of_a_run(run, name):
    folder = run(64)
    reason = f"the weights were trained at 64 (records in {folder})"
    assert provenance.choose_resolution(folder / name, None, HYPERRULE) == (64, reason)


def test_the_choice_of_the_rule(run):
    folder = run(None, 128)
    reason = f"the weights were trained at 128 (records in {folder})"
    assert provenance.choose_resolution(folder / "weights.npz", None, HYPERRULE) == (128, reason)


def test_a_run_of_an_earlier_version_did_not_record_the_choice_of_the_rule(run):
    assert provenance.choose_resolution(run(None) / "weights.npz", None, HYPERRULE) == HYPERRULE


def test_a_link_is_what_it_points_to(run, tmp_path_factory):
    link = tmp_path_factory.mktemp("elsewhere") / "mine.npz"
    (run(64) / "weights.npz").touch()
    link.symlink_to(run(64) / "weights.npz")
    assert provenance.training_resolution(link)[0] == 64


def test_a_keras_file(tmp_path):
    path = tmp_path / "mine.keras"
    model = BiT("R17x0.5", 2)
    for resolution in (None, 48):
        model.resolution = resolution
        model.save(path)
        expected = (48, f"the weights were trained at 48 (card of {path})") if resolution else None
        assert provenance.training_resolution(path) == expected
    assert BiT.from_preset(path).resolution == 48
    for content in ("[]", '{"config": 3}', '{"config": {"resolution": "48"}}', "{"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", content)
        assert provenance.training_resolution(path) is None
    path.write_text("no archive")
    assert provenance.training_resolution(path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"resolution": 64}', '{"model_type": "bit", "data": 1}'])
def test_a_configuration_of_something_else_says_nothing(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    assert provenance.training_resolution(tmp_path / "weights.npz") is None


def test_another_file_in_the_folder_of_a_run_is_not_of_the_run(run):
    assert provenance.training_resolution(run(64) / "downloaded.npz") is None


def test_published_weights_are_used_at_the_resolution_of_their_row():
    for name, row in PRESETS.items():
        expected = row.evaluation_resolution or row.training_resolution or HYPERRULE[0]
        assert provenance.choose_resolution(name, None, HYPERRULE)[0] == expected
    assert provenance.choose_resolution("BiT-distilled-R50x1-160", None, HYPERRULE)[0] == 160


def test_the_resolution_that_is_asked_for_wins_with_a_warning(run, caplog):
    path = run(64) / "weights.npz"
    assert provenance.choose_resolution(path, 480, HYPERRULE) == (480, "asked for")
    assert "480 pixels were asked for" in caplog.text
    assert "trained at 64" in caplog.text
    caplog.clear()
    provenance.choose_resolution(path, 64, HYPERRULE)
    provenance.choose_resolution("unknown.npz", 480, HYPERRULE)
    assert not caplog.records


@pytest.mark.parametrize(("known", "asked", "used", "warns"), [
    (64, None, 64, False),
    (64, 64, 64, False),
    (64, 224, 224, True),
    (None, None, 224, False),
    (None, 96, 96, False),
])  # fmt: skip
def test_a_network_is_served_at_its_resolution(known, asked, used, warns, caplog):
    assert provenance.serving_resolution(SimpleNamespace(resolution=known), asked) == used
    assert bool(caplog.records) == warns


def test_a_fingerprint_follows_the_content(tmp_path, monkeypatch):
    file, folder = tmp_path / "a.npz", tmp_path / "module"
    (folder / "variables").mkdir(parents=True)
    for content in ("one", "two"):
        file.write_text(content)
        (folder / "saved_model.pb").touch()
        (folder / "variables" / "index").write_text(content)
    first = provenance.fingerprint(file), provenance.fingerprint(folder)
    (tmp_path / "b.npz").write_text("two")
    assert provenance.fingerprint(tmp_path / "b.npz") == first[0]
    file.write_text("three")
    (folder / "variables" / "index").rename(folder / "variables" / "data")
    assert not {provenance.fingerprint(file), provenance.fingerprint(folder)} & set(first)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "R50x1").mkdir()
    assert all(provenance.fingerprint(name) is None for name in ("R50x1", "BiT-M-R50x1", "hf://a/b.npz", "x", ""))
