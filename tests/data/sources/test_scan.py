import contextlib
import io

import numpy as np
import pytest
import tensorflow as tf
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
    assert list(sizes) == paths[:2] + paths[3:]
    assert list(sizes.values()) == [(5, 6 + number) for number in (0, 1, 3, 4, 5, 6)]


def test_bad_image_is_named(paths):
    with pytest.raises(DataError, match=r"1 of 7 images cannot be used:\n  .*2\.png: cannot be decoded") as error:
        scan.scan(paths)
    assert error.value.files == (str(paths[2]),)


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="none: cannot be read: No such file or directory"):
        scan.scan([tmp_path / "none"])


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
