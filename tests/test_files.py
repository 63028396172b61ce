import json

import pytest

from bit_keras.files import whole, write_json


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
