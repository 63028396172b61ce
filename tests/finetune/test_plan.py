"""The dry run."""

import re

import numpy as np
import pytest

from bit_keras import data
from bit_keras.finetune import finetuner


@pytest.fixture
def cifar() -> data.Source:
    """A few images with the size and the number of classes of CIFAR-10."""
    labels = np.arange(40) % 10
    images = np.zeros((40, 32, 32, 3), np.uint8)
    return data.from_arrays(images, labels, images[:10], labels[:10], class_names=tuple("abcdefghij"))


def test_a_published_network_is_described_without_its_file(cifar, tmp_path):
    text = finetuner.dry_run("BiT-M-R101x3", cifar, tmp_path / "run", accumulate=4, precision="mixed_bfloat16")
    lines = text.splitlines()
    assert lines[0] == "model      BiT-M-R101x3: R101x3, 381,851,338 weights with a head of 10 classes"
    assert "40 training and 10 test examples, 32x32 pixels" in text
    assert "images     resized to 160, cropped to 128; evaluated at 128" in lines
    assert "batch      512 images in 4 micro-batches" in lines
    assert "length     500 updates, 256,000 images" in lines
    rates = [
        line.split(maxsplit=1)[1] if line.startswith("rate") else line.strip() for line in lines if "updates " in line
    ]
    assert [rate for rate in rates if ":" in rate] == [
        "updates 0 to 99: rises from 0 to 0.003",
        "updates 100 to 200: 0.003",
        "updates 201 to 300: 0.0003",
        "updates 301 to 400: 3e-05",
        "updates 401 to 499: 3e-06",
    ]
    larger = finetuner.dry_run("BiT-M-R101x3", cifar, tmp_path / "run", resize=144)
    assert "images     resized to 144, cropped to 128; evaluated at 128" in larger
    assert "about 6.1 GB for weights, gradients and momentum" in text
    assert not (tmp_path / "run").exists()


def test_the_page_of_cifar10(mock_tfds, tmp_path):
    with mock_tfds("cifar10", {"train": 50_000, "test": 10_000}, num_examples=10):
        text = finetuner.dry_run("BiT-M-R101x3", "cifar10", tmp_path / "run")
    for line in (
        "model      BiT-M-R101x3: R101x3, 381,851,338 weights with a head of 10 classes",
        "data       cifar10: 50,000 training and 10,000 test examples, 32x32 pixels",
        "images     resized to 160, cropped to 128; evaluated at 128",
        "batch      512 images",
        "MixUp      0.1",
        "length     10,000 updates, 5,120,000 images",
        "rate       updates 0 to 499: rises from 0 to 0.003",
        "           updates 500 to 3,000: 0.003",
        "           updates 3,001 to 6,000: 0.0003",
        "           updates 6,001 to 9,000: 3e-05",
        "           updates 9,001 to 9,999: 3e-06",
    ):
        assert line in text.splitlines()


def test_the_splits_are_counted(cifar, tmp_path):
    text = finetuner.dry_run("R17x0.5", cifar, tmp_path / "run", validation=0.3)
    assert "data       arrays: 30 training, 10 validation and 10 test examples, 32x32 pixels" in text


def test_a_file_is_described_by_its_shapes(cifar, golden_npz, tmp_path):
    text = finetuner.dry_run(str(golden_npz), cifar, tmp_path, schedule="upstream", steps=100, freeze="block2")
    assert f"{golden_npz}: R17x0.5, 2,087,978 weights" in text
    assert "trained    block2" in text
    assert "MixUp      none" in text


@pytest.mark.parametrize("steps", [5, 6, 7, 8])
def test_the_shortest_schedules(steps, tmp_path):
    text = finetuner.dry_run("R17x0.5", "digits", tmp_path / "run", steps=steps)
    spans = [tuple(map(int, span)) for span in re.findall(r"updates (\d+) to (\d+): ", text)]
    assert [begin for begin, _ in spans] == [0, *(end + 1 for _, end in spans[:-1])]
    assert spans[-1][1] == steps - 1


@pytest.fixture
def places(golden_npz, tmp_path):
    """Files and folders that settings must not name."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model": "R50x1"}')
    (tmp_path / "filled").mkdir()
    (tmp_path / "filled" / "notes.txt").write_text("")
    with np.load(golden_npz) as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "nan.npz", **{name: array * np.nan for name, array in arrays.items()})
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [
        {"model": "R50x1", "variant": "R17x0.5"},
        {"model": "BiT-M-R50x1", "variant": "R17x0.5"},
        {"model": "R50x1", "variant": "R51x1"},
        {"model": "nan.npz"},
        {"model": "filled"},
        {"workdir": "other"},
        {"workdir": "filled"},
        {"workdir": "filled/notes.txt"},
        {"workdir": "gs://bucket/run"},
        {"export_dir": "filled"},
        {"export_dir": "run"},
        {"export_dir": "filled/notes.txt/x"},
        {"export_dir": ""},
        {"steps": 3},
        {"resize": 127},
        {"flip": "False"},
        {"distribute": "tpu", "loader": "grain"},
        {"distribute": "data_parallel", "batch_size": 3},
    ],
    ids=str,
)
def test_a_dry_run_refuses_what_a_run_refuses(change, cifar, places, monkeypatch):
    monkeypatch.chdir(places)
    before = sorted(places.rglob("*"))
    settings = {"model": "R17x0.5", "dataset": cifar, "workdir": "run", "steps": 5, "batch_size": 2, **change}
    with pytest.raises((TypeError, ValueError, OSError, ImportError)) as refused:
        finetuner.run(**settings)
    with pytest.raises(refused.type, match=re.escape(str(refused.value))):
        finetuner.dry_run(**settings)
    assert sorted(places.rglob("*")) == before
