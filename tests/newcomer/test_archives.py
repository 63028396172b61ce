"""What the check of releases finds in archives."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.newcomer import archives, licences

INFO = "bit_keras-0.1.0.dist-info"
SOURCES = ["LICENSE", "bit_keras/BUILD", "bit_keras/__init__.py", "bit_keras/data/digits.npz", "tests/test_a.py"]
WHEEL = {"bit_keras/__init__.py": b"", "bit_keras/data/digits.npz": b"", f"{INFO}/METADATA": b"", f"{INFO}/RECORD": b""}


def wheel(path: Path, contents: dict[str, bytes], year: int = 2000) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), content)
    return path


def test_members_of_both_kinds(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        record = tarfile.TarInfo("bit_keras-0.1.0/bit_keras/a.py")
        record.size = 2
        archive.addfile(record, io.BytesIO(b"ab"))
    assert archives.members(tmp_path / "a.tar.gz") == {"bit_keras/a.py": b"ab"}
    assert archives.members(wheel(tmp_path / "a.whl", WHEEL)) == WHEEL


@pytest.mark.parametrize(
    ("contents", "year", "found"),
    [
        ({"a": b"1", "b": b"2"}, 2000, []),
        ({"a": b"1", "b": b"3"}, 2000, ["b differs"]),
        ({"a": b"1", "c": b"2"}, 2000, ["only one has b", "only one has c"]),
        (
            {"a": b"1", "b": b"2"},
            2001,
            ["the order, a time, an owner or a permission of their members, or their compression, differs"],
        ),
    ],
)
def test_differences(contents, year, found, tmp_path):
    first = wheel(tmp_path / "a.whl", {"a": b"1", "b": b"2"})
    assert archives.differences(first, wheel(tmp_path / "b.whl", contents, year)) == found


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"bit_keras/data/digits.npz": None}, ["bit_keras/data/digits.npz is missing"]),
        ({"tests/test_a.py": b""}, ["tests/test_a.py should not be in it"]),
        ({"bit_keras/BUILD": b""}, ["bit_keras/BUILD should not be in it"]),
        ({"bit_keras/notes.txt": b""}, ["bit_keras/notes.txt should not be in it"]),
    ],
)
def test_contents_of_a_wheel(changed, found):
    contents = {name: content for name, content in {**WHEEL, **changed}.items() if content is not None}
    assert archives.wheel_faults(contents, SOURCES) == found


def test_contents_of_a_source_archive():
    contents = dict.fromkeys([*SOURCES, "PKG-INFO", "bit_keras.egg-info/SOURCES.txt"], b"")
    assert archives.sdist_faults(contents, SOURCES) == []
    assert archives.sdist_faults({**contents, "secret.txt": b""}, SOURCES) == ["secret.txt should not be in it"]
    del contents["tests/test_a.py"]
    assert archives.sdist_faults(contents, SOURCES) == ["tests/test_a.py is missing"]


def test_sizes(monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 3)
    assert archives.size_faults({"a": b"123"}) == []
    assert archives.size_faults({"a": b"12", "b": b"34"}) == ["all of it has 4 bytes, more than 3"]


def test_secrets():
    key = b"-----BEGIN RSA " + b"PRIVATE KEY-----\n"
    token = b"hf_" + b"a" * 34
    contents = {"a.py": b"x = 1", "b.txt": b"text " + key, "c/.netrc": b"", "d.md": b"(" + token + b")"}
    found = archives.secret_faults(contents)
    assert found == [
        "c/.netrc is a file for credentials",
        "b.txt contains a private key",
        "d.md contains a token of Hugging Face",
    ]


def test_licences():
    rows = b"| `a.png`, `b.png` | plots | MIT |\n| `c.png` | x | |\n"
    page = b"# Pictures\n\n| file | shows | licence |\n|---|---|---|\n" + rows
    contents = {
        "docs/a.png": b"\x89PNG\xff",
        "docs/b.png": b"\x89PNG\xff",
        "docs/c.png": b"\x89PNG\xff",
        "docs/README.md": page,
        "bit_keras/w.npz": b"\x00\xff",
        "bit_keras/w.md": b"# w\n\n| | |\n|---|---|\n| licence | Apache-2.0, as the code |\n",
        "bit_keras/d.npz": b"\x00\xff",
        "bit_keras/d.md": b"Digits.\nLicence: [CC BY 4.0](https://creativecommons.org).\n",
        "bit_keras/e.npz": b"\x00\xff",
        "bit_keras/e.md": b"No terms.\n",
        "bit_keras/table.csv": b"a,b\n",
        "bit_keras/code.py": b"x = 1\n",
    }
    assert licences.licences(contents) == {
        "docs/a.png": "MIT",
        "docs/b.png": "MIT",
        "docs/c.png": None,
        "bit_keras/w.npz": "Apache-2.0, as the code",
        "bit_keras/d.npz": "CC BY 4.0",
        "bit_keras/e.npz": None,
        "bit_keras/table.csv": None,
    }


def test_licences_of_training_data():
    page = "| images | licence |\n|---|---|\n| clothes | MIT |\n| letters | |\n"
    assert licences.training_licences(page) == ["MIT", ""]
