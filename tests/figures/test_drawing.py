"""Names from outside in pictures, and pictures that fail."""

import dataclasses
import logging
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from bit_keras.figures import contact_sheet, drawing, notebook, report
from bit_keras.inference.prediction import Prediction
from bit_keras.metrics import Predictions
from bit_keras.predict.shown import ShownPredictions

NAMES = (
    *("$5_a_b$ note", "US$ to C$", "50% \\alpha_b", "#1 & <b>x</b>", "a\nb", "tab\there", "\"a\" 'b'", "a/b"),
    *("$", "\\", "😀 👩\u200d🔬", "漢字", "עברית", "مرحبا", "x" * 300, "漢" * 300, "", " "),
    *("\x1b[31mred", "\u202eabc", "bad\udcff", "\0"),
)


def test_any_name_is_drawn(tmp_path):
    count = len(NAMES)
    wrong = Predictions.of(np.eye(count), np.roll(np.eye(count), 1, axis=0))
    predictions = dataclasses.replace(wrong, mistake_images=np.zeros((count, 8, 8, 3)), mistakes=np.arange(count))
    rows = [Prediction(name, (name,), (1.0,), (0,)) for name in NAMES]
    figures = {
        "matrix": lambda: report.confusion_matrix(predictions, NAMES),
        "mistakes": lambda: report.worst_mistakes(predictions, NAMES, NAMES),
        "sheet": lambda: contact_sheet.contact_sheet(rows),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drawing.save_all(tmp_path, figures) == []
    for name in figures:
        assert np.std(imread(tmp_path / f"{name}.png")) > 0.01
    labels = report.confusion_matrix(predictions, NAMES).axes[0].get_yticklabels()
    assert [text.get_text() for text in labels[:5]] == ["$5_a_b$ note", *NAMES[1:4], r"a\nb"]
    assert not any(text.get_parse_math() or text.get_usetex() for text in labels)


def test_notebooks_show_names_as_text():
    rows = ShownPredictions([Prediction("<i>.png", ("<b>&",), (1.0,), (0,)), Prediction("a", error="<script>")])
    html = rows._repr_html_() + notebook.table({"<u>": "<b>"})
    assert "&lt;i&gt;.png</td><td>&lt;b&gt;&amp; 100.0%" in html
    assert not [tag for tag in ("<i>", "<b>", "<u>", "<script>") if tag in html]


def test_a_picture_that_fails_costs_nothing_but_itself(tmp_path, caplog):
    def fail() -> Figure:
        raise RuntimeError("no such font")

    with caplog.at_level(logging.WARNING, "bit_keras"):
        faults = drawing.save_all(tmp_path, {"first": fail, "second": lambda: Figure(figsize=(1, 1))})
    assert faults == [f"{tmp_path}/first.png could not be written: no such font"] == caplog.messages
    assert [path.name for path in tmp_path.iterdir()] == ["second.png"]


def test_interruptions_are_no_faults(tmp_path):
    def stop() -> Figure:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drawing.save_all(tmp_path, {"first": stop})
