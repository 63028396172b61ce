"""The summary of an export."""

import json

import pytest

from bit_keras.saved_models.summary import Artefact, measure, table, write_summary


@pytest.fixture
def artefacts(tmp_path) -> list[Artefact]:
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "variables" / "data").write_bytes(bytes(1000))
    (tmp_path / "model" / "saved_model.pb").write_bytes(bytes(234))
    (tmp_path / "model.onnx").write_bytes(bytes(5))
    return [
        Artefact("reusable", tmp_path / "model", 0.0, {1: 10.0, 8: 20.25}),
        Artefact("ONNX", tmp_path / "model.onnx", 3.4e-7, {1: 11.0, 8: 21.0}, {"accuracy": 0.91389}),
    ]


def test_table(artefacts):
    assert table(artefacts).splitlines() == [
        "artefact  bytes  max difference  img/s, batch 1  img/s, batch 8  accuracy",
        "reusable  1,234  0.0e+00         10.0            20.2            -",
        "ONNX      5      3.4e-07         11.0            21.0            0.9139",
    ]


def test_json(artefacts, tmp_path):
    write_summary(artefacts, tmp_path / "summary.json")
    first, second = json.loads((tmp_path / "summary.json").read_text())["artefacts"]
    assert (first["bytes"], first["images_per_second"]) == (1234, {"1": 10.0, "8": 20.25})
    assert (second["path"], second["extra"]) == (str(tmp_path / "model.onnx"), {"accuracy": 0.91389})


def test_measure_runs_each_batch_size():
    shapes = []
    rates = measure(lambda images: shapes.append(images.shape), size=16, runs=3)
    assert shapes == [(1, 16, 16, 3)] * 4 + [(8, 16, 16, 3)] * 4
    assert list(rates) == [1, 8]
    assert min(rates.values()) > 0
