"""What preparing the data of the tasks needs."""

import importlib.util

import pytest

from bit_keras.protocols.check import check
from bit_keras.zoo.tasks import TASKS
from tests.data.sources.test_objectnet import objectnet_files, unpack
from tests.data.sources.test_tfds_task import mocked


def test_prepared_and_missing_data(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find(name) if name != "cv2" else None)
    with mocked(TASKS["vtab/dtd"], tmp_path):
        dtd, kitti, resisc45 = check(["vtab/dtd", "vtab/kitti-distance", "vtab/resisc45"], tmp_path)
    assert dtd.prepared
    assert str(dtd) == f"vtab/dtd: dtd:3.0.1, 47 classes, prepared in {tmp_path}/dtd/3.0.1"
    assert not kitti.prepared
    assert kitti.needs == (
        "pip install opencv-python-headless",
        f"The first use downloads 12.6 GB to {tmp_path}/kitti/3.1.0.",
    )
    (by_hand,) = resisc45.needs
    assert by_hand.startswith("By hand: unpack NWPU-RESISC45.rar")
    assert not list(tmp_path.glob("kitti*"))  # nothing is downloaded or made


def test_an_unknown_task():
    with pytest.raises(ValueError, match="got 'vtab/kitty'"):
        check(["vtab/kitty"])


def test_the_program(run_program, tmp_path):
    done = run_program("bit_keras.protocols", "check", "--tasks=vtab/clevr-*", f"--data_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    first, download, _, _, last = done.stdout.splitlines()
    assert first == "vtab/clevr-count: clevr:3.1.0, 8 classes, not prepared"
    assert "19 GB" in download
    assert last == "0 of 2 tasks are prepared"
    done = run_program("bit_keras.protocols", "list", "--tasks=vtab/kitti*")
    assert done.stdout.splitlines()[-1] == (
        "| vtab/kitti-distance | structured | 4 | kitti:3.1.0 | train[:800]+validation[:200] | test | "
        "distance of the closest vehicle | no | yes |"
    )
    for arguments, words in ((["chek"], "did you mean check"), (["list", "--tasks=none"], "no task matches 'none'")):
        done = run_program("bit_keras.protocols", *arguments)
        assert done.returncode == 2
        assert words in done.stderr


def test_evaluation_sets(tmp_path):
    v2, objectnet, missing, alone = check(
        ["imagenet_v2/topimages", f"objectnet:{unpack(tmp_path, objectnet_files())}", "objectnet:/no.zip", "objectnet"],
        tmp_path / "tfds",
    )
    assert v2.needs[0] == f"The first use downloads 1.2 GB to {tmp_path}/tfds/imagenet_v2/topimages/3.0.0."
    assert str(objectnet) == f"objectnet: 113 classes, prepared in {tmp_path}"
    assert not missing.prepared
    assert missing.needs[0] == "objectnet: no such file or folder: /no.zip"
    for status in (missing, alone):
        assert "https://objectnet.dev/downloads/objectnet-1.0.zip (MD5 522aa98" in " ".join(status.needs)
    assert "objectnet:PATH" in alone.needs[-1]
