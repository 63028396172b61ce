"""Names of classes as users have them, from the folder through training, evaluation and prediction."""

import csv
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import bit_keras
from bit_keras import data
from bit_keras.evaluate.evaluator import evaluate

NAMES = (" two words ", "Käse", "a,b", 'x"y', "東京")


def _write_images(folder: Path, names: tuple[str, ...]) -> None:
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(5):
            image = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(image).save(folder / name / f"{name.strip()} {number}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Five images per class; one of them, and the folder of one class, are links."""
    root = tmp_path_factory.mktemp("names")
    _write_images(root / "images", NAMES[:-1])
    _write_images(root / "elsewhere", NAMES[-1:])
    (root / "images" / NAMES[-1]).symlink_to(root / "elsewhere" / NAMES[-1])
    image = root / "images" / "Käse" / "Käse 0.png"
    image.rename(root / "elsewhere" / "image.png")
    image.symlink_to(root / "elsewhere" / "image.png")
    return root / "images"


@pytest.fixture(scope="module")
def workdir(folder, tmp_path_factory) -> Path:
    """A run of the program in the C locale."""
    workdir = tmp_path_factory.mktemp("run") / "Läufe"
    settings = {"model": "BiT-mini-R17x0.5", "dataset": folder, "workdir": workdir, "steps": 5, "eval_every": 5}
    settings |= {"batch_size": 4, "resolution": 16}
    done = subprocess.run(
        [sys.executable, "-m", "bit_keras.finetune", *(f"--{name}={value}" for name, value in settings.items())],
        env={**{name: value for name, value in os.environ.items() if not name.startswith("LC_")}, "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return workdir


def test_a_run_keeps_the_names(workdir):
    assert bit_keras.BiT.from_preset(workdir / "weights.npz").class_names == NAMES
    assert tuple(json.loads((workdir / "task.json").read_text(encoding="utf-8"))["class_names"]) == NAMES


@pytest.mark.filterwarnings("ignore:Glyph")  # the font of matplotlib has no Chinese characters
def test_tables_have_the_names(workdir, folder, tmp_path):
    evaluate(workdir, folder, tmp_path / "out", split="all", verbose=False)
    for file in ("predictions.csv", "per_class.csv"):
        with open(tmp_path / "out" / file, encoding="utf-8", newline="") as table:
            rows = list(csv.DictReader(table))
        assert {row.get("label") or row["class"] for row in rows} == set(NAMES)
    rows = bit_keras.predict(workdir, folder, verbose=False)
    assert {name for row in rows for name in row.names} == set(NAMES)
    # Folders are searched without following links to other folders, which may be loops.
    assert {Path(row.file).parent.name for row in rows} == set(NAMES[:-1])


def test_a_server_answers_with_the_names(workdir, folder, check_here, tmp_path):
    model = bit_keras.BiT.from_preset(workdir / "weights.npz")
    options = {"resolution": 16, "top": len(NAMES)}
    with check_here():
        bit_keras.export_saved_model(model, tmp_path / "served", "serving", verbose=False, **options)
    served = tf.saved_model.load(tmp_path / "served").signatures["serve_bytes"]
    images = sorted((folder / "a,b").iterdir())[:2]
    found = served(tf.constant([image.read_bytes() for image in images]))["classes"].numpy()
    rows = bit_keras.predict(workdir / "weights.npz", images, top=len(NAMES), verbose=False)
    assert [[name.decode() for name in names] for names in found] == [list(row.names) for row in rows]
    assert set(rows[0].names) == set(NAMES)


def test_names_that_look_the_same_are_refused(tmp_path):
    _write_images(tmp_path / "cheese", ("Käse", unicodedata.normalize("NFD", "Käse")))
    with pytest.raises(data.DataError, match=r"two classes are called .*'K\\xe4se'.*different Unicode normal forms"):
        data.load(tmp_path / "cheese")


def test_a_link_to_itself_is_an_image_that_cannot_be_read(tmp_path):
    _write_images(tmp_path / "loops", ("a", "b"))
    (tmp_path / "loops" / "a" / "loop.png").symlink_to("loop.png")
    with pytest.raises(data.DataError, match="1 of 11 images cannot be used") as caught:
        data.load(tmp_path / "loops")
    assert [Path(file).name for file in caught.value.files] == ["loop.png"]
