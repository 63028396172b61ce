"""A Beam pipeline in two processes."""

import doctest
import json

import numpy as np
import pytest

pytest.importorskip("apache_beam", reason="needs the extra beam")

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from bit_keras.bulk.beam import BitModelHandler
from bit_keras.inference.predictor import Predictor
from tools.site import example_inputs

# Of Beam's own code.
pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:apache_beam\..*")
PROCESSES = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")


def test_the_rows_of_predict(weights, photos, tmp_path):
    handler = BitModelHandler(weights, top=3, batch_size=4, loader="grain", features=True)
    with beam.Pipeline(options=PipelineOptions(PROCESSES)) as pipeline:
        found = pipeline | fileio.MatchFiles(f"{photos}/**.*") | beam.Map(lambda match: match.path)
        images = found | beam.Filter(lambda path: path.endswith((".jpg", ".png")) and ".hidden" not in path)
        rows = images | RunInference(handler) | beam.Map(lambda row: json.dumps(row.to_dict()))
        _ = rows | beam.io.WriteToText(str(tmp_path / "rows"), file_name_suffix=".jsonl")
    lines = [line for path in tmp_path.glob("rows-*.jsonl") for line in path.read_text().splitlines()]
    rows = sorted(map(json.loads, lines), key=lambda row: row["file"])
    expected = [row.to_dict() for row in Predictor(weights, top=3, loader="grain", features=True).iterate(photos)]
    assert [row["file"] for row in rows] == [row["file"] for row in expected]
    assert [row["error"] for row in rows] == [row["error"] for row in expected]
    assert sum(row["error"] is not None for row in rows) == 1
    for row, other in zip(rows, expected):
        ranked = [[(each["class"], each["index"]) for each in side["predictions"]] for side in (row, other)]
        assert ranked[0] == ranked[1]
        np.testing.assert_allclose(row.get("features", []), other.get("features", []), rtol=1e-3, atol=1e-4)


def test_elements(weights, photos):
    handler = BitModelHandler(weights, loader="grain", batch_size=2)
    model = handler.load_model()
    content = (photos / "a" / "0000.png").read_bytes()
    batch = [("from memory", content), str(photos / "a" / "0000.png"), str(photos / "none.jpg")]
    memory, file, missing = handler.run_inference(batch, model)
    assert memory.file == "from memory"
    assert memory.names == file.names
    assert (memory.error, file.error) == (None, None)
    assert missing.error
    assert handler.batch_elements_kwargs() == {"min_batch_size": 2, "max_batch_size": 2}
    assert BitModelHandler(weights, large_model=True).share_model_across_processes()
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        BitModelHandler(weights, batch_size=0)


def test_the_example_of_the_docstring(tmp_path, monkeypatch):
    """The site only shows it: Beam cannot be installed beside the packages that the other examples use."""
    for name in ("BIT_KERAS_MIRROR", "BIT_KERAS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))  # restored at the end; `write` sets them as well
    monkeypatch.chdir(tmp_path)
    example_inputs.write()
    [example] = doctest.DocTestFinder(recurse=False).find(BitModelHandler, "BitModelHandler", globs={})
    done = doctest.DocTestRunner().run(example)
    assert done.attempted > 4
    assert not done.failed
