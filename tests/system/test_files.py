import json
import os
import signal
import tarfile
from pathlib import Path

import pytest

from bit_keras.system.files import extract, sweep, whole, write_json, write_lines


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


def _killed(path: Path) -> None:
    """Begins to write a file in a process that is killed."""
    child = os.fork()
    if not child:
        with whole(path) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_what_a_killed_process_left_is_swept(tmp_path):
    for path in (tmp_path / "a.txt", tmp_path / "deep" / "a.txt"):
        _killed(path)
    foreign = tmp_path / ".notes.unfinished" / "thesis.tex"
    foreign.parent.mkdir()
    foreign.touch()
    assert len(list(tmp_path.rglob("a.txt"))) == 2
    with whole(tmp_path / "b.txt") as temporary:  # in use
        temporary.write_text("b")
        sweep(tmp_path)
        assert [path.parent.parent.name for path in tmp_path.rglob("a.txt")] == ["deep"], "only of this folder"
    assert foreign.exists()
    assert sorted(os.listdir(tmp_path)) == [".notes.unfinished", "b.txt", "deep"]
    sweep(tmp_path / "nothing")


def test_the_next_writer_of_a_file_sweeps_what_a_killed_one_left(tmp_path):
    path = tmp_path / "a [1].txt"
    _killed(path)
    _killed(tmp_path / "other.txt")
    write_lines(path, ["whole"])
    assert path.read_text() == "whole\n"
    left = sorted(os.listdir(tmp_path))
    assert left[1:] == ["a [1].txt"]
    assert left[0].startswith(".other.txt.")


def test_writers_of_one_file_at_the_same_time(tmp_path):
    children = []
    for number in range(8):
        child = os.fork()
        if not child:
            status = 1
            try:
                for _ in range(10):
                    write_lines(tmp_path / "a.txt", [str(number)] * 100)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert len(set((tmp_path / "a.txt").read_text().split())) == 1
    assert os.listdir(tmp_path) == ["a.txt"]


def test_files_and_folders_are_on_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    synced = []

    def fsync(descriptor):
        name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append((name, (tmp_path / "saved").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with whole(tmp_path / "saved") as temporary:
        (temporary / "variables").mkdir(parents=True)
        (temporary / "variables" / "data").touch()
    assert synced == [("data", False), ("variables", False), ("saved", False), (tmp_path.name, True)]


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
