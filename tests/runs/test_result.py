"""What a notebook shows of a result."""

import base64
import io
import re
from pathlib import Path

from matplotlib.image import imread

from bit_keras.figures import report
from bit_keras.finetune import FinetuneResult
from tests.figures.test_report import METRICS, NAMES, SCHEDULE, predictions

SUMMARY = {
    "test_accuracy": 0.6,
    "test_loss": 0.71234,
    "test_examples": 1_250,
    "best_test_accuracy": 0.65,
    "best_step": 5.0,
    "steps": 10,
    "seconds": 2.5,
}


def _result(folder: Path, **summary) -> FinetuneResult:
    return FinetuneResult(None, {**SUMMARY, **summary}, folder, METRICS)


def test_text(tmp_path):
    assert repr(_result(Path("runs/a"))) == "FinetuneResult(test_accuracy=0.6000, steps=10, workdir='runs/a')"


def test_the_plot_is_the_learning_curve():
    figure = _result(Path("runs/a")).plot()
    assert [line.get_label() for line in figure.axes[1].lines] == ["training (augmented)", "test"]
    assert list(figure.axes[1].lines[1].get_ydata()) == [0.3, 0.6]
    assert imread(io.BytesIO(figure._repr_png_())).shape == (400, 900, 4)
    figure = _result(Path("runs/a"), validation_examples=9, best_validation_accuracy=0.5).plot()
    assert figure.axes[1].lines[1].get_label() == "validation"


def test_html_has_numbers_and_the_pictures_of_the_report(tmp_path):
    folder = tmp_path / "<b>runs & more"
    report.write(folder / "report", METRICS, SCHEDULE, predictions(), NAMES, SUMMARY)
    page = _result(folder)._repr_html_()
    for text in (
        "60.00% of 1,250 examples",
        "0.7123",
        "65.00% at update 5",
        "10 updates in 2 s",
        "&lt;b&gt;runs &amp; more",
    ):
        assert text in page
    assert "<b>" not in page
    pictures = [base64.b64decode(content) for content in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert pictures == [
        (folder / "report" / f"{name}.png").read_bytes() for name in ("learning_curve", "worst_mistakes")
    ]


def test_without_a_report_there_are_numbers_alone(tmp_path):
    page = _result(tmp_path, validation_examples=9, best_validation_accuracy=0.5)._repr_html_()
    assert "best validation accuracy" in page
    assert "<img" not in page
