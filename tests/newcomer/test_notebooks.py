"""The notebooks of docs/notebooks: one in a kernel, as Jupyter and Colab run it, the others in this process."""

import asyncio
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import bit_keras

ROOT = Path(bit_keras.__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
NAMES = ["1_own_photos", "2_keras_fit", "3_export_and_serve"]

INTERRUPTED = f"""
import runpy, signal, time
import bit_keras, keras

runpy.run_path({str(ROOT / "tests" / "consumers" / "tiny.py")!r})
before = signal.getsignal(signal.SIGINT)
epochs = []

class Watch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs):
        epochs.append((epoch, logs["step"], "val_accuracy" in logs))
        while epoch == 0 and signal.getsignal(signal.SIGINT) != before:  # the interrupt has not arrived
            time.sleep(0.01)
"""
TRAIN = """
result = bit_keras.finetune(
    "tiny", "digits", "runs/digits", steps=10, eval_every=5, batch_size=8, resolution=8, callbacks=[Watch()]
)
"""


class Client(NotebookClient):
    """Runs notebooks; `lines` are the texts of the line that shows progress, in order."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] in ("display_data", "update_display_data"):
            self.lines.append(msg["content"]["data"]["text/plain"])
        return super().process_message(msg, cell, cell_index)

    def run(self, code: str):
        """Runs a cell and returns it."""
        self.nb.cells.append(nbformat.v4.new_code_cell(code))
        return self.execute_cell(self.nb.cells[-1], len(self.nb.cells) - 1)


def _read(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", 4)


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[Client]:
    """A kernel in an empty folder, `folder`, and the notebook of photos, of which no cell has run."""
    folder = tmp_path_factory.mktemp("notebook")
    client = Client(
        _read("1_own_photos"),
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,
        allow_errors=True,
        timeout=300,
    )
    client.folder, client.lines = folder, []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with client.setup_kernel(env=environment):
        yield client


def _text(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def test_own_photos(client):
    for index, cell in enumerate(client.nb.cells):
        client.execute_cell(cell, index)
    cells = [cell for cell in client.nb.cells if cell.cell_type == "code"]
    errors = [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not errors, errors[0].evalue
    _, load, finetune, history, predict, _ = cells
    assert load.outputs[-1].data["text/plain"] == "Source(photos: 96 training and 24 test examples of 3 classes)"

    # Messages, one line per evaluation, and a line for the progress that is empty at the end.
    text = _text(finetune)
    assert re.search(r"step 40/40  loss 0\.\d+  accuracy \d\.\d+  val_accuracy \d\.\d+", text)
    assert re.search(r"^report in runs/shapes/report$", text, re.MULTILINE)
    assert 15 <= len(text.splitlines()) <= 25
    assert any(re.fullmatch(r"compiling the first update: \d+ s so far", line) for line in client.lines)
    assert any(re.match(r"step \d+/40  loss \d", line) for line in client.lines)
    lines = [output for output in finetune.outputs if output.output_type == "display_data"]
    assert [output.data["text/plain"] for output in lines] == [""]

    # Results show themselves.
    result = finetune.outputs[-1].data
    accuracy = float(re.match(r"FinetuneResult\(test_accuracy=([\d.]+), steps=40,", result["text/plain"])[1])
    assert accuracy > 0.8
    assert f"<th>test accuracy</th><td>{accuracy:.2%} of 24 examples</td>" in re.sub(r"\s+", " ", result["text/html"])
    assert result["text/html"].count('<img src="data:image/png;base64,') == 2
    assert "'step': 40.0" in history.outputs[-1].data["text/plain"]
    table = predict.outputs[-1].data["text/html"]
    assert [table.count(f"<td>{file}</td>") for file in _new_photos()] == [1, 1, 1]


def _new_photos() -> list[str]:
    return [f"new_photos/new {shape}.png" for shape in ("circle", "square", "triangle")]


def test_an_interrupted_cell_resumes(client):
    client.run(INTERRUPTED)

    def interrupt() -> None:
        log = client.folder / "runs" / "digits" / "metrics.csv"
        while not log.exists():
            time.sleep(0.05)
        asyncio.run(client.km.interrupt_kernel())

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    cell = client.run(TRAIN)
    thread.join()
    (error,) = (output for output in cell.outputs if output.output_type == "error")
    assert (error.ename, error.evalue) == ("TrainingInterrupted", "stopped by SIGINT; the state is saved")
    assert "the same cell of a notebook, resumes the training" in "\n".join(error.traceback)

    cell = client.run(TRAIN + "epochs, signal.getsignal(signal.SIGINT) == before, result")
    assert "resuming runs/digits after update 5 of 10" in _text(cell)
    shown = re.sub(r"\s+", " ", cell.outputs[-1].data["text/plain"])
    assert shown.startswith("([(0, 5, True), (1, 10, True)], True, FinetuneResult(test_accuracy=")


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", NAMES[1:])
def test_the_other_notebooks(name, tiny_npz, check_here, tmp_path, monkeypatch, capsys):
    """Runs the code with a network that is traced faster; and the checks of exports in this process."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(cell.source for cell in _read(name).cells if cell.cell_type == "code")
    assert code.count("BiT-mini-R17x0.5") == 1
    with check_here():
        exec(compile(code.replace("BiT-mini-R17x0.5", str(tiny_npz)), name, "exec"), {})
    out = capsys.readouterr().out
    if name == "2_keras_fit":
        assert re.search(r"^Epoch 3/3$", out, re.MULTILINE)
        assert re.search(r"^\d+\.\d% of 60 digits are correct$", out, re.MULTILINE)
        assert float(re.search(r"^largest difference (\S+)$", out, re.MULTILINE)[1]) < 1e-5
    else:
        variables, difference = re.search(r"^(\d+) trainable .* difference (\S+)$", out, re.MULTILINE).groups()
        assert int(variables) == len(bit_keras.BiT("tiny", 10).trainable_variables)
        assert float(difference) < 1e-5
        valid, invalid = out.splitlines()[-2:]
        assert re.fullmatch(r"\d [\d.]+%", valid)  # the tiny network has no class names
        assert invalid == "invalid: the image is not JPEG, PNG, GIF or BMP"


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_stored_without_outputs(name):
    notebook = _read(name)
    nbformat.validate(notebook)
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count is not None]
