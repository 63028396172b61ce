"""Published networks, as files of the official form: one that has learned its training images, and one that has not."""

import dataclasses

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras import data
from bit_keras.protocols.published import published
from bit_keras.protocols.resolution import sizes
from bit_keras.protocols.sweep import Failed
from bit_keras.zoo.presets import BUCKET, PRESETS, WeightFile
from bit_keras.zoo.tasks import TASKS, VTAB
from tests.data.sources.test_tfds_task import mocked

TASK = TASKS["vtab/caltech101"]
SETTINGS = {"resolution": 32, "verbose": False}


def test_every_task_has_its_three_networks_and_the_same_number_of_classes():
    for task in VTAB:
        for run in range(3):
            for variant in ("R50x1", "R101x1", "R50x3", "R101x3", "R152x4"):
                preset = PRESETS[f"BiT-M-{variant}-run{run}-{task.name.removeprefix('vtab/')}"]
                assert preset.num_classes == task.num_classes


@pytest.mark.parametrize(
    ("rule", "variant", "side", "expected"),
    [
        ("official", "R50x1", 300, {}),
        ("paper", "R50x1", 300, {"resolution": 384, "resize": 448}),
        ("paper", "R50x1", 96, {"resolution": 384, "resize": 448}),
        ("paper", "R50x1", 95, {}),
        ("paper", "R152x4", 300, {}),
    ],
)
def test_the_resolutions_of_both_rules(rule, variant, side, expected):
    assert sizes(rule, variant, (side, side)) == expected


@pytest.fixture
def caltech(tmp_path):
    """Prepared data with eight examples in each split."""
    with mocked(TASK, tmp_path / "tfds"):
        yield data.load(TASK.name, tmp_path / "tfds")


@pytest.fixture
def networks(tiny, caltech, tmp_path, monkeypatch):
    """Files of two runs in a mirror of the bucket; returns the networks. The third run is missing there."""
    monkeypatch.setenv("BIT_KERAS_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "cache"))
    row = PRESETS["BiT-M-R50x1-run0-caltech101"]
    monkeypatch.setitem(PRESETS, "BiT-M-tiny", dataclasses.replace(PRESETS["BiT-M-R50x1"], variant="tiny"))
    made = []
    for run in range(3):
        name = f"BiT-M-tiny-run{run}-caltech101"
        file = WeightFile(f"{BUCKET}/vtab/{name}.npz")
        monkeypatch.setitem(PRESETS, name, dataclasses.replace(row, name=name, variant="tiny", files=(file,)))
        if run == 2:
            continue
        keras.utils.set_random_seed(run)
        network = bit_keras.BiT("tiny", row.num_classes)
        if run == 0:  # the head that predicts the training images
            features = network.backbone.predict(np.concatenate(_images(caltech, "train")), verbose=0)
            extended = np.column_stack([features, np.ones(len(features))])
            weights = np.linalg.lstsq(extended, np.eye(row.num_classes)[caltech.train.labels], rcond=None)[0]
            network.get_layer("head").set_weights([weights[:-1], weights[-1]])
        _write_official(network, tmp_path / "mirror" / "vtab" / f"{name}.npz")
        made.append(network)
    return made


def _images(source: data.Source, split: str) -> list[np.ndarray]:
    each = source if split == "test" else source.tested_on(split)
    return [np.asarray(images) for images, _ in data.test_batches(each, batch_size=8, crop=32)]


def _write_official(network, path):
    """Writes the arrays under official names alone, with kernels of the head as 1x1 convolutions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bit_keras.save_npz(network, path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name.startswith("resnet/")}
    assert arrays["resnet/head/conv2d/kernel"].shape[:2] == (1, 1)
    np.savez(path, **arrays)


def test_accuracies_and_the_check_on_the_training_images(networks, caltech, tmp_path):
    settings = {**SETTINGS, "data_dir": str(tmp_path / "tfds")}
    records = published(["BiT-M-tiny"], tmp_path / "p", [TASK.name], runs=2, **settings)
    for network, record in zip(networks, records, strict=True):
        for split in ("test", "train"):
            logits = network.predict(np.concatenate(_images(caltech, split)), verbose=0)
            labels = getattr(caltech, split).labels
            assert record[f"{split}_accuracy"] == pytest.approx(
                np.mean(logits.argmax(axis=-1) == labels[: len(logits)])
            )
        assert record["resolution"] == 32
    assert records[0]["train_accuracy"] == 1
    assert records[1]["train_accuracy"] < 0.9

    report = (tmp_path / "p" / "published.md").read_text()
    assert f"| {TASK.name} | {100 * records[1]['train_accuracy']:.1f} |" in report
    assert "sign that these are not the images of its training" in report
    assert "- BiT-M-tiny-run1-caltech101: " in report
    assert "- BiT-M-tiny-run0-caltech101: " not in report
    assert "in the order in which the file system lists them" in report

    with pytest.raises(FileExistsError, match="options"):
        published(["BiT-M-tiny"], tmp_path / "p", [TASK.name], runs=2, **{**settings, "resolution": 24})
    (tmp_path / "mirror" / "vtab" / "BiT-M-tiny-run0-caltech101.npz").unlink()
    again = published(["BiT-M-tiny"], tmp_path / "p", [TASK.name], runs=2, batch_size=3, **settings)
    assert again == records


def test_a_file_that_is_missing_or_has_other_classes_costs_no_other(networks, tmp_path, monkeypatch):
    _write_official(bit_keras.BiT("tiny", 7), tmp_path / "mirror" / "vtab" / "BiT-M-tiny-run1-caltech101.npz")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # no network
    with pytest.raises(Failed) as caught:
        published(["BiT-M-tiny"], tmp_path / "p", [TASK.name], data_dir=str(tmp_path / "tfds"), **SETTINGS)
    first, wrong, missing = str(caught.value).splitlines()[:3]
    assert first == "2 runs failed; the same command repeats only what has failed:"
    assert wrong.endswith("BiT-M-tiny-run1-caltech101 must have 102 outputs, got 7")
    assert "BiT-M-tiny-run2-caltech101" in missing
    assert (tmp_path / "p" / "published.md").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["BiT-S-R50x1"]}, "models must be of BiT-M-R50x1, BiT-M-R101x1, .* got 'BiT-S-R50x1'"),
        ({"tasks": ["digits"]}, "tasks must be names or patterns of VTAB-1k tasks, such as 'vtab/dtd'; got 'digits'"),
        ({"runs": 4}, "runs must be at most 3"),
        ({"resolution_rule": "paper", "resolution": 384}, "give either it or them"),
        ({"steps": 5}, "steps"),
    ],
)
def test_settings_are_checked_before_anything_is_written(change, message, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        published(**{"models": ["BiT-M-R50x1"], "workdir": tmp_path / "p", "verbose": False, **change})
    assert not (tmp_path / "p").exists()


def test_the_program_refuses_settings_of_training(run_program, tmp_path):
    flags = ["--published", "--models=BiT-M-R50x1", f"--workdir={tmp_path / 'p'}", "--steps=5", "--noflip"]
    done = run_program("bit_keras.protocols", "vtab", *flags)
    assert done.returncode == 1
    assert "--published trains nothing, so that it takes no settings of training, got --steps, --flip" in done.stderr
