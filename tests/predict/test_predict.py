"""The function, and the program on a small run."""

import csv
import inspect
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import bit_keras
from bit_keras.checkpoints.card import Card
from bit_keras.evaluate.evaluator import evaluate


@pytest.fixture(scope="module")
def place(golden_npz, tmp_path_factory):
    """A folder with run/, of ten classes at 32 pixels, and birds/ with images of two of them."""
    root, random = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    network = bit_keras.BiT.from_preset(golden_npz)
    network.card = Card(class_names=("ant", "wren's nest", *(f"digit {k}" for k in range(8))), resolution=32)
    bit_keras.save_npz(network, root / "run" / "weights.npz")
    (root / "run" / "config.json").write_text("{}")
    for name in ("ant", "wren's nest"):
        (root / "birds" / name).mkdir(parents=True)
        for k in range(3):
            image = Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8))
            image.save(root / "birds" / name / f"{k}.{'jpg' if k else 'png'}")
    (root / "birds" / "Thumbs.db").write_bytes(b"x")
    return root


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_program_the_function_and_the_evaluation_agree(place, run_program, monkeypatch):
    monkeypatch.chdir(place)
    outputs = ("--csv=new/out.csv", "--sheet=new/sheet.png")
    done = run_program("bit_keras.predict", "--model=run", "no.jpg", "birds", *outputs, "--top=3", folder=place)
    assert done.returncode == 0, done.stderr
    assert "of the run in run: weights.npz" in done.stderr
    assert "images at 32 pixels: the weights are for 32 (card of run/weights.npz)" in done.stderr
    assert "warning: 1 of 7 images cannot be read" in done.stderr
    evaluate("run/weights.npz", "birds", "evaluated", split="all")
    expected = {row["file"]: row for row in read_csv(place / "evaluated" / "predictions.csv")}
    rows = read_csv(place / "new" / "out.csv")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["no.jpg", "error:", "no", "such", "file"]
    assert len(lines) == len(rows) == 7
    for row, line in zip(rows[1:], lines[1:], strict=True):
        other = expected.pop(row["file"])
        for column in ("class_1", "class_2", "class_3"):
            assert row[column] == other[column]
        for column in ("probability_1", "probability_2", "probability_3"):
            assert float(row[column]) == pytest.approx(float(other[column]), rel=1e-4)
        assert line.startswith(row["file"])
        assert f"{float(row['probability_1']):.1%} {row['class_1']}" in line
    assert not expected
    assert (place / "new" / "sheet.png").read_bytes().startswith(b"\x89PNG")

    found = bit_keras.predict("run", ["no.jpg", "birds"], top=3, verbose=False)
    assert [row.file for row in found] == [row["file"] for row in rows]
    assert [row.name or "" for row in found] == [row["class_1"] for row in rows]
    assert (found[0].error, found[0].name, found[0].probability) == ("no such file", None, None)


def test_lists_and_json(place, run_program):
    (place / "list.txt").write_bytes(b"birds/ant/0.png\r\n\nbirds/wren's nest/1.jpg\n")
    arguments = ("birds/ant/1.jpg", "--from_file=list.txt", "--json", "--top=1", "--batch_size=2")
    done = run_program("bit_keras.predict", "--model=run/weights.npz", *arguments, folder=place)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == ["birds/ant/1.jpg", "birds/ant/0.png", "birds/wren's nest/1.jpg"]
    assert all(len(row["predictions"]) == 1 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--model=run"], 2, "name images: files, folders, patterns, addresses, or - for a list of them"),
        (["--model=run", "no.jpg", "--csv=out.csv"], 1, "error: none of the images can be read"),
        (["--model=run", "birds", "--csv=birds"], 1, "a file is written, but birds is a folder"),
        (["--model=run", "birds", "--sheet=a.jpg"], 1, "sheet must be the name of a PNG file, got a.jpg"),
        (["--model=birds", "birds"], 1, "birds is a folder without weights: it must hold best.npz or weights.npz"),
        (["--model=run", "--from_file=empty.txt"], 1, "the list of images is empty"),
        (["--model=run", "--from_file=birds/ant/0.png"], 1, "must be a list of images, one path or address per line"),
        (["--model=run", "birds", "--tops=3"], 2, "unknown flag --tops; did you mean top?"),
    ],
)
def test_errors_of_the_program(place, run_program, arguments, status, words):
    (place / "empty.txt").touch()
    done = run_program("bit_keras.predict", *arguments, folder=place)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert (place / "out.csv").exists() == ("--csv=out.csv" in arguments), "reasons are results"
    (place / "out.csv").unlink(missing_ok=True)


def test_the_best_weights_of_a_run_are_taken(place, tmp_path, caplog):
    caplog.set_level("INFO", "bit_keras")
    shutil.copytree(place / "run", tmp_path / "run")
    shutil.copy(tmp_path / "run" / "weights.npz", tmp_path / "run" / "best.npz")
    image = place / "birds" / "ant" / "0.png"
    (row,) = bit_keras.predict.iterate(tmp_path / "run", image)
    assert f"of the run in {tmp_path / 'run'}: best.npz" in caplog.text
    assert len(row.names) == 5


def test_the_package_is_the_function(place):
    import bit_keras.predict.tables as tables

    assert inspect.ismodule(tables)
    assert list(inspect.signature(bit_keras.predict).parameters)[:2] == ["model", "images"]
    with pytest.raises(TypeError, match=r"predict\(\) has no argument 'topk'; did you mean top\?"):
        bit_keras.predict("run", [], topk=3)
    with pytest.raises(TypeError, match="model must be a preset"):
        bit_keras.predict(None, "a.jpg")
