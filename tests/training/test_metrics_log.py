"""The metrics of all epochs, as a CSV file."""

import csv

import pytest

from bit_keras.training import MetricsLog


def _rows(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def log(tmp_path) -> MetricsLog:
    return MetricsLog(tmp_path / "run" / "metrics.csv")


def test_a_row_an_epoch(log):
    log.on_epoch_end(0, {"loss": 0.5})
    log.on_epoch_end(1, {"loss": 0.25, "val_loss": 1 / 3})
    assert _rows(log.path) == [
        {"epoch": "0", "loss": "0.5", "val_loss": ""},
        {"epoch": "1", "loss": "0.25", "val_loss": "0.3333333333333333"},
    ]
    assert [path.name for path in log.path.parent.iterdir()] == ["metrics.csv"]


def test_a_restored_log_drops_what_came_after(log):
    for epoch in range(3):
        log.on_epoch_end(epoch, {"loss": epoch})
    again = MetricsLog(log.path)
    again.restore([{"epoch": 0, "loss": 0.0}])
    assert [row["epoch"] for row in _rows(log.path)] == ["0"]
    again.on_epoch_end(1, {"loss": 7})
    assert [row["loss"] for row in _rows(log.path)] == ["0.0", "7.0"]
