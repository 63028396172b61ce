"""The result of a training. It is a public name, so that matplotlib is imported only when something is drawn."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras.network.model import BiT

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, repr=False)
class RunResult:
    """Result of a run; the last line of a notebook cell shows it with its learning curve and its errors.

    Attributes:
        model: the trained network, on one device.
        summary: content of `report/summary.json`.
        workdir: folder of the run; `BiT.from_preset` takes the `weights.npz` in it.
        history: one row per evaluation, {column of metrics.csv: value}.
    """

    model: BiT
    summary: dict
    workdir: Path
    history: list[dict[str, float]]

    @property
    def test_accuracy(self) -> float:
        """Fraction of test examples that are classified correctly, in [0, 1]; precision at 1 in multi-label data."""
        return self.summary["test_accuracy"]

    def plot(self) -> "Figure":
        """Returns the learning curve: loss and accuracy of all evaluations; `savefig` writes it to a file."""
        from bit_keras.figures import report

        return report.learning_curve(self.history, self.test_accuracy, self._evaluated_on)

    def __repr__(self) -> str:
        kind, workdir = type(self).__name__, str(self.workdir)
        return f"{kind}(test_accuracy={self.test_accuracy:.4f}, steps={self.summary['steps']}, workdir={workdir!r})"

    def _repr_html_(self) -> str:
        from bit_keras.figures import notebook

        summary, split = self.summary, self._evaluated_on
        numbers = {
            "test accuracy": f"{self.test_accuracy:.2%} of {summary['test_examples']:,} examples",
            "test loss": f"{summary['test_loss']:.4f}",
            f"best {split} accuracy": f"{summary[f'best_{split}_accuracy']:.2%} at update {summary['best_step']:.0f}",
            "training": f"{summary['steps']:,} updates in {summary['seconds']:,.0f} s",
            "weights": str(self.workdir / "weights.npz"),
        }
        pictures = {"learning_curve": "learning curve", "worst_mistakes": "highest-loss errors"}
        parts = [notebook.picture(self.workdir / "report" / f"{name}.png", text) for name, text in pictures.items()]
        return notebook.table(numbers) + "".join(parts)

    @property
    def _evaluated_on(self) -> str:
        """The split of the evaluations during training."""
        return "validation" if "validation_examples" in self.summary else "test"
