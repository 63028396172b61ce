import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from bit_keras.system.files import extract, sweep, whole, write_json


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


def _extract(folder: Path, name: str, link: str | None = None) -> None:
    """Writes an archive of one member, a file or a link, and extracts it into `folder`."""
    member = tarfile.TarInfo(name)
    if link:
        member.type, member.linkname = tarfile.SYMTYPE, link
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as written:
        written.addfile(member)
    with tarfile.open(path) as archive:
        extract(archive, folder)


# The second time as with a Python that has no filters; a newer one warns of their absence.
@pytest.mark.filterwarnings("ignore:Python 3.14 will")
@pytest.mark.parametrize("is_old", [False, True])
def test_an_archive_is_extracted_into_its_folder_only(tmp_path, monkeypatch, is_old):
    if is_old:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    _extract(tmp_path / "out", "inside/file")
    assert (tmp_path / "out" / "inside" / "file").is_file()
    for member in (("../up",), ("inside/../../up",), ("link", "/etc")):
        with pytest.raises(tarfile.TarError):
            _extract(tmp_path / "other", *member)
    assert not (tmp_path / "up").exists()
    assert not (tmp_path / "other" / "link").exists()
