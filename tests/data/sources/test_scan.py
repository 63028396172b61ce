import contextlib
import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from rich.console import Console

from bit_keras.data import DataError
from bit_keras.data.sources import scan
from bit_keras.system import progress_bar


@pytest.fixture
def paths(tmp_path):
    """Seven images, the third of which cannot be decoded."""
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(paths):
        path.write_bytes(tf.io.encode_png(np.zeros((5, 6 + number, 3), np.uint8)).numpy())
    paths[2].write_text("no image")
    return paths


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_sizes_stand_in_the_order_of_the_paths(chunk, paths, monkeypatch):
    monkeypatch.setattr(scan, "_CHUNK", chunk)
    sizes = scan.scan(paths, skip_unreadable=True)
    assert sizes.tolist() == [[5, 6], [5, 7], [0, 0], [5, 9], [5, 10], [5, 11], [5, 12]]


def test_bad_image_is_named(paths):
    with pytest.raises(DataError, match=r"1 of 7 images cannot be used:\n  .*2\.png: cannot be decoded") as error:
        scan.scan(paths)
    assert error.value.files == (str(paths[2]),)


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="none: cannot be read: No such file or directory"):
        scan.scan([tmp_path / "none"])


def test_what_is_no_file_is_named_and_nothing_hangs(tmp_path, monkeypatch):
    """Pipes, devices, sockets, links without end, folders, and names that are not UTF-8."""
    os.mkfifo(tmp_path / "pipe.png")
    with monkeypatch.context() as patch, socket.socket(socket.AF_UNIX) as listener:
        patch.chdir(tmp_path)  # the path of a socket has at most 107 bytes
        listener.bind("socket.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").symlink_to(".")
    (tmp_path / "gone.png").symlink_to("nothing")
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(tf.io.encode_png(np.zeros((5, 6, 3), np.uint8)).numpy())
    paths = sorted(tmp_path.iterdir())
    with pytest.raises(DataError) as error:
        scan.scan(paths)
    named = str(error.value).encode().decode().split("\n  ")[1:]  # valid UTF-8
    assert [line.removeprefix(f"{tmp_path}/") for line in named] == [
        "caf\\xe9.png: its path must be UTF-8: rename the file or the folder, for example with convmv",
        "folder.png: must be a file, not a folder",
        "gone.png: cannot be read: No such file or directory",
        "loop.png: cannot be read: Too many levels of symbolic links",
        "pipe.png: must be a file, not a pipe",
        "socket.png: must be a file, not a socket",
        "zero.png: must be a file, not a device",
    ]
    assert error.value.files[0] == f"{tmp_path}/caf\\xe9.png"
    assert not scan.scan(paths, skip_unreadable=True).any()


def test_limits_of_pixels_and_bytes_can_be_changed(paths, monkeypatch):
    usual = scan.scan(paths[3:])
    monkeypatch.setenv("BIT_KERAS_MAX_PIXELS", "50")
    with pytest.raises(DataError, match=r"has 55 pixels; at most 50 are decoded, unless BIT_KERAS_MAX_PIXELS allows"):
        scan.scan(paths[3:])
    monkeypatch.setenv("BIT_KERAS_MAX_PIXELS", "60")
    np.testing.assert_array_equal(scan.scan(paths[3:]), usual)
    monkeypatch.setenv("BIT_KERAS_MAX_BYTES", str(paths[3].stat().st_size - 1))
    with pytest.raises(DataError, match=r"bytes; at most .* are read, unless BIT_KERAS_MAX_BYTES allows more"):
        scan.scan(paths[3:])
    monkeypatch.setenv("BIT_KERAS_MAX_BYTES", "1 GB")
    with pytest.raises(DataError, match=r"BIT_KERAS_MAX_BYTES must be a whole number, 1 or more, got '1 GB'"):
        scan.scan(paths[3:])


def test_a_bomb_is_refused_by_its_header(tmp_path):
    """A file of this header and 47 KB would become 1.2 GB."""
    path = tmp_path / "bomb.png"
    Image.new("1", (20, 20)).save(path)
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + path.read_bytes()[24:29]
    path.write_bytes(path.read_bytes()[:12] + header + struct.pack(">I", zlib.crc32(header)) + path.read_bytes()[33:])
    with pytest.raises(DataError, match=r"bomb\.png: .*has 400,000,000 pixels; at most 268,435,456 are decoded"):
        scan.scan([path])


def test_a_gif_whose_first_frame_is_larger_than_its_header_says(tmp_path):
    path = tmp_path / "bomb.gif"
    size = struct.pack("<HHHHB", 0, 0, 30_000, 30_000, 0)
    path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 8, 8, 128, 0, 0) + bytes(6) + b"," + size + b"\2\2\x4c\1\0;")
    with pytest.raises(DataError, match=r"bomb\.gif: .*has 900,000,000 pixels; at most 268,435,456 are decoded"):
        scan.scan([path])


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bar_in_a_terminal_only(is_terminal, paths, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=is_terminal, width=100)
    monkeypatch.setattr(progress_bar, "Console", lambda stderr: console)
    scan.scan(paths, skip_unreadable=True)
    assert ("check images" in screen.getvalue()) == is_terminal
    assert ("7/7" in screen.getvalue()) == is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_told_without_a_terminal(is_terminal, paths, monkeypatch):
    told = []

    @contextlib.contextmanager
    def doing(progress_line):
        yield
        told.append(progress_line())

    monkeypatch.setattr(scan, "doing", doing)
    monkeypatch.setattr(progress_bar, "Console", lambda stderr: Console(file=io.StringIO(), force_terminal=is_terminal))
    scan.scan(paths, skip_unreadable=True)
    assert told == ["" if is_terminal else "7 of 7 images checked"]
