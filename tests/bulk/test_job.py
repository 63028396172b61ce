"""Jobs on a Ray cluster of two machines on this one, of which one is lost."""

import shutil
import threading
import time

import numpy as np
import pytest

pytest.importorskip("ray", reason="needs the extra ray")

from pyarrow import parquet
from ray.cluster_utils import Cluster

from bit_keras.bulk import job
from bit_keras.inference.predictor import Predictor
from tests.bulk.conftest import NAMES, write_images

# Of Ray's own code.
pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:ray\..*")

COUNT, PART, BATCH = 480, 16, 8
SETTINGS = {
    "what": "both",
    "top": 3,
    "class_names": None,
    "resolution": None,
    "precision": "float32",
    "loader": "grain",
    "part_size": PART,
    "batch_size": BATCH,
    "workers": 2,
}


@pytest.fixture(scope="module")
def cluster():
    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 2, "include_dashboard": False, "_system_config": soon}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.second = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def test_a_job_that_loses_a_machine_and_its_second_start(cluster, weights, tmp_path, caplog):
    caplog.set_level("INFO", "bit_keras")
    photos, output = write_images(tmp_path / "photos", COUNT), tmp_path / "rows"
    lost = threading.Event()

    def lose_a_machine() -> None:
        while len(list(output.glob("part-*"))) < 2:
            time.sleep(0.05)
        assert len(list(output.glob("part-*"))) < COUNT // PART
        cluster.remove_node(cluster.second, allow_graceful=False)
        lost.set()

    thread = threading.Thread(target=lose_a_machine, daemon=True)
    thread.start()
    counters = job.run(weights, [str(photos)], output, address=cluster.address, **SETTINGS)
    thread.join(60)
    assert lost.is_set()
    assert (counters.images, counters.errors, counters.already) == (COUNT + 1, 1, 0)
    assert counters.size == sum(path.stat().st_size for path in photos.glob("?/0*"))
    assert counters.decoding > 0
    assert counters.computing > 0
    assert f"{COUNT + 1} images by 2 workers" in caplog.text

    # Every image once, with the numbers of `predict`.
    rows = parquet.read_table(output).to_pylist()
    expected = list(Predictor(weights, top=3, loader="grain", features=True, batch_size=BATCH).iterate(photos))
    assert [row["file"] for row in rows] == [row.file for row in expected]
    for row, other in zip(rows, expected):
        assert row["error"] == other.error
        assert tuple(row["classes"]) == other.names
        assert tuple(row["indices"]) == other.indices
        np.testing.assert_allclose(row["probabilities"], other.probabilities, rtol=1e-4)
        if other.error is None:
            assert set(row["classes"]) < set(NAMES)
            np.testing.assert_allclose(row["features"], other.features, rtol=1e-3, atol=1e-4)

    # The second start computes what is missing, and the same.
    first, second, *_ = sorted(output.glob("part-*"))
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    for path in (first, second):
        path.unlink()
    again = job.run(weights, [str(photos)], output, address=cluster.address, **{**SETTINGS, "workers": 1})
    assert (again.images, again.already) == (2 * PART, COUNT + 1 - 2 * PART)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before

    # And if nothing is missing, needs no cluster.
    complete = job.run(weights, [str(photos)], output, address="127.0.0.1:1", **SETTINGS)
    assert (complete.images, complete.already) == (0, COUNT + 1)


def test_a_worker_that_cannot_load_the_model(cluster, weights, photos, tmp_path, monkeypatch):
    shutil.copy(weights, tmp_path / "weights.npz")
    monkeypatch.setattr(job, "packed", lambda path: job_files(path))
    with pytest.raises(RuntimeError, match=r"a worker failed: .*weights\.npz"):
        job.run(tmp_path / "weights.npz", [str(photos)], tmp_path / "rows", address=cluster.address, **SETTINGS)


def job_files(path):
    from bit_keras.bulk.model import Files

    return Files("0" * 64, "weights.npz", {"weights.npz": np.zeros(100, np.uint8)})
