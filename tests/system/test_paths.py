"""Paths as users write them, and places where nothing can be written."""

import os
import re

import pytest

from bit_keras.system import paths


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home folder of the user; the current folder is another one."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNS", "some runs")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_the_home_folder_and_variables_are_expanded(home):
    assert paths.expanded("~/x") == paths.expanded("$HOME/x") == paths.expanded("${HOME}/x") == f"{home}/x"
    assert paths.expanded("~/$RUNS") == f"{home}/some runs"
    assert paths.expanded(home / "~") == f"{home}/~"
    for name in ("$5_a_b$", "birds", "a~b", "~nobody_of_this_name/x", "https://x.org/~me/$HOME", "gs://bucket/~"):
        assert paths.expanded(name) == name


def test_what_exists_as_it_is_written_is_meant(home):
    with open("$RUNS", "w"):
        pass
    assert paths.expanded("$RUNS") == "$RUNS"


@pytest.mark.parametrize("path", ["", "  ", "a\0b"])
def test_nothing_is_no_path(path):
    with pytest.raises(ValueError, match=f"^workdir must be a path, got {re.escape(repr(path))}$"):
        paths.check_place("workdir", path)


@pytest.mark.parametrize("url", ["gs://bucket/run", "gs:/bucket/run", "s3://a", "https://x.org/a", "file:///tmp/a"])
def test_addresses_are_no_places(url, home):
    with pytest.raises(ValueError, match=f"^csv must be a local path, got {re.escape(url)}: "):
        paths.check_place("csv", url)


def test_a_place_is_expanded_and_nothing_is_written(home):
    assert paths.check_place("output", "~/a/b") == home / "a" / "b"
    assert paths.check_place("output", "new") == paths.check_new("output", "new")
    assert paths.check_folder("output", home) == home
    assert not [*home.iterdir(), *(home.parent / "here").iterdir()]


def test_a_file_in_the_way(home):
    (home / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=f"^output cannot be written, got {home}/file/a/b: {home}/file: "):
        paths.check_place("output", "~/file/a/b")
    with pytest.raises(FileExistsError, match=f"^workdir must be a new or empty folder, got the file {home}/file$"):
        paths.check_folder("workdir", home / "file")
    with pytest.raises(FileExistsError, match=f"^output must not exist yet, got {home}$"):
        paths.check_new("output", home)
    (home / "link").symlink_to(home / "missing")
    with pytest.raises(FileExistsError, match="output must not exist yet"):
        paths.check_new("output", home / "link")


def test_file_systems_that_refuse_it(home):
    # Not even root can make a folder there, though its permissions say that it can.
    with pytest.raises(OSError, match=r"^csv cannot be written, got /proc/a: "):
        paths.check_place("csv", "/proc/a")
    with pytest.raises(OSError, match=r"csv cannot be written, got .*: File name too long"):
        paths.check_place("csv", "a" * 300)


def test_folders_that_are_read_only(home, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root has all permissions
    with pytest.raises(PermissionError, match=f"^workdir cannot be written, got {home}: it is read-only$"):
        paths.check_folder("workdir", home)


def test_a_result_is_outside_of_what_is_read(home):
    (home / "link").symlink_to(home)
    for place in (home, home / "a" / "b", home / "link" / "a"):
        with pytest.raises(ValueError, match=f"^output must not be in dataset: got {place}, and {home}$"):
            paths.check_outside("output", place, "dataset", [home])
    paths.check_outside("output", home.parent / "home2", "dataset", [home])
    paths.check_outside("output", home.parent, "dataset", [home])
