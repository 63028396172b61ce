import json
import os
import subprocess
import sys

import pytest

from bit_keras.system.files import sweep, whole, write_json


def test_replaces_a_file_at_the_end(tmp_path):
    path = tmp_path / "folder" / "numbers.txt"
    with whole(path) as temporary:
        temporary.write_text("1")
        assert not path.exists()
    with whole(path) as temporary:
        temporary.write_text("2")
        assert path.read_text() == "1"
    assert path.read_text() == "2"
    assert [file.name for file in path.parent.iterdir()] == ["numbers.txt"]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("1")
    with pytest.raises(OSError, match="disk full"):
        _write_half(path)
    assert path.read_text() == "1"
    assert list(tmp_path.iterdir()) == [path]


def test_write_json(tmp_path):
    write_json(tmp_path / "a.json", {"steps": 3, "rate": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"steps": 3, "rate": None}


def _write_half(path):
    with whole(path) as temporary:
        temporary.write_text("half of")
        raise OSError("disk full")


def test_what_a_killed_process_left_is_swept(tmp_path):
    program = f"""
import os, signal
from bit_keras.system.files import whole
with whole({str(tmp_path / "run" / "deep" / "file.txt")!r}) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=False, env=environment)
    (tmp_path / "run" / ".hidden").mkdir()
    assert [path.read_text() for path in tmp_path.rglob("file.txt")] == ["half"]
    sweep(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == [".hidden", "deep"]
    sweep(tmp_path / "nothing")
