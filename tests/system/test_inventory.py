import pytest

from bit_keras.system import inventory


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(b"12")
    (tmp_path / "a" / "b" / "y").write_bytes(b"345")
    return tmp_path / "a"


def test_a_folder_that_is_left_alone(folder):
    assert not inventory.is_recorded(folder)
    assert not inventory.is_complete(folder)
    inventory.record(folder, sha256="s")
    assert inventory.is_recorded(folder)
    assert inventory.is_complete(folder, sha256="s")
    assert not inventory.is_complete(folder, sha256="t")
    assert not inventory.is_complete(folder)
    (folder / "new").touch()
    assert inventory.is_complete(folder, sha256="s")
    inventory.forget(folder)
    assert not inventory.is_complete(folder, sha256="s")


@pytest.mark.parametrize("damage", ["missing", "shorter", "folder"])
def test_what_is_cleaned_is_noticed(folder, damage):
    inventory.record(folder)
    if damage == "shorter":
        (folder / "b" / "y").write_bytes(b"34")
    else:
        (folder / "b" / "y").unlink()
    if damage == "folder":
        (folder / "x").unlink()
        (folder / "b").rmdir()
        folder.rmdir()
    assert not inventory.is_complete(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 1}', '{"files": {"x": "2"}}'])
def test_a_damaged_list(folder, text):
    inventory.record(folder)
    folder.with_name("a.files.json").write_text(text)
    assert not inventory.is_complete(folder)
