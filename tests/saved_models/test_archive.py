"""Archives of strangers: whatever is wrong with one is noticed before anything is written."""

import bz2
import gzip
import io
import lzma
import tarfile
from pathlib import Path

import filelock
import numpy as np
import pytest

from bit_keras.checkpoints import CheckpointError
from bit_keras.saved_models import archive as module
from bit_keras.saved_models.archive import unpacked

FILES = {"saved_model.pb": 3000, "assets/names.txt": 700, "variables/variables.index": 512, "empty": 0}
COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def _contents() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    return {name: random.bytes(size) for name, size in FILES.items()}


def _tar(contents: dict[str, bytes], **options) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _header(name: str, size: int, kind: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def _found(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def refused(tmp_path):
    """Asserts that an archive is refused with a message, and that nothing but the archive and a lock is left."""

    def check(content: bytes, message: str = "must be a tar archive of a SavedModel: .", name: str = "x.tar"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message) as error:
            unpacked(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert {path.name for path in tmp_path.iterdir()} <= {name, f"{name}.unpacked.lock"}

    return check


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_good_archives(tmp_path, ending, tar_format):
    contents = _contents() | {"a" * 120 + "/é" * 50: b"long name"}
    path = tmp_path / f"x.tar{ending}"
    path.write_bytes(COMPRESS[ending](_tar(contents, format=tar_format)))
    folder = unpacked(path)
    assert folder == tmp_path / f"x.tar{ending}.unpacked"
    assert _found(folder) == contents


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_one_changed_byte_anywhere_is_noticed(tmp_path, ending):
    content, contents = COMPRESS[ending](_tar(_contents())), _contents()
    path, refused = tmp_path / "x.tar", 0
    for at in range(0, len(content), 97):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        try:
            assert _found(unpacked(path)) == contents  # gzip stores a time and a name that nothing depends on
        except CheckpointError:
            refused += 1
    assert refused >= len(content) // 97 - 1


@pytest.mark.parametrize("ending", COMPRESS)
def test_truncated_archives(refused, ending):
    content = COMPRESS[ending](_tar(_contents()))
    padding = 9 * 512 if not ending else 0  # tar fills a record of 20 blocks
    for length in (0, 1, 10, 511, len(content) // 2, 512 * (len(content) // 1024), len(content) - padding - 1):
        refused(content[:length])


def test_a_damaged_header_in_the_middle(refused):
    content = bytearray(_tar(_contents()))
    content[content.index(b"assets/names.txt") + 148] ^= 1
    for compress in COMPRESS.values():
        refused(compress(bytes(content)), "the header of a file is damaged")


def test_something_after_the_end(refused):
    refused(_tar(_contents()) + b"more" + bytes(508), "something follows its end")


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_of_many_bytes(refused, kind):
    size = 4 << 20
    refused(gzip.compress(_header("x", size, kind) + bytes(size + 1024)), "a header promises 4,194,304 bytes, at most")


def test_many_files(refused, monkeypatch):
    monkeypatch.setattr(module, "_MAX_MEMBERS", 100)
    headers = b"".join(_header(f"d/{k}", 0, b"0") for k in range(101))
    refused(gzip.compress(headers + bytes(1024)), "must have at most 100 files")


def test_a_bomb(refused):
    refused(gzip.compress(_tar({"zeros": bytes(10_000_000)})), "promises arrays of 10000000 bytes")


@pytest.mark.parametrize(
    ("name", "kind"), [("../up", b"0"), ("a", b"2"), ("a", b"1"), ("a", b"3"), ("a", b"6"), ("n" * 300, b"0")]
)
def test_members_that_are_refused(refused, name, kind, tmp_path):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "saved_model.pb"
    refused(member.tobuf(tarfile.PAX_FORMAT) + bytes(1024), name="folder.tar")
    assert not (tmp_path.parent / "up").exists()


def test_a_name_that_is_a_file_and_a_folder(refused):
    refused(_tar({"a": b"", "a/b": b""}))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(_tar(_contents())))
    return path


def test_it_is_unpacked_once(path, monkeypatch):
    folder = unpacked(path)
    monkeypatch.setattr(tarfile, "open", None)
    monkeypatch.setattr(filelock, "FileLock", None)  # a read-only cache can have no new lock
    assert unpacked(path) == folder


@pytest.mark.parametrize("cleaned", ["file", "folder", "list", "killed"])
def test_a_cache_that_was_cleaned(path, cleaned):
    folder = unpacked(path)
    if cleaned in ("file", "killed"):
        (folder / "variables" / "variables.index").unlink()
    if cleaned == "folder":
        for each in sorted(folder.rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
    if cleaned == "list":
        path.with_name("x.tar.gz.unpacked.files.json").unlink()
    if cleaned == "killed":
        (path.parent / ".x.tar.gz.unpacked.123.unfinished").mkdir()
    assert _found(unpacked(path)) == _contents()
    assert not list(path.parent.glob("*.unfinished"))


def test_another_archive_of_the_same_name(path):
    unpacked(path)
    path.write_bytes(gzip.compress(_tar({"saved_model.pb": b"new"})))
    assert _found(unpacked(path)) == {"saved_model.pb": b"new"}


def test_a_cache_that_cannot_be_written(path, monkeypatch, caplog):
    class NoLock:
        def __init__(self, name):
            raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(module.filelock, "FileLock", NoLock)
    folder = unpacked(path)
    assert path.parent not in folder.parents
    assert _found(folder) == _contents()
    assert "cannot be written, so x.tar.gz is unpacked for this process alone" in caplog.text


def test_a_full_disk(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.files, "extract", full)
    with pytest.raises(OSError, match=r"x\.tar\.gz cannot be unpacked: No space left.*x\.tar\.gz\.unpacked"):
        unpacked(path)
    assert {each.name for each in path.parent.iterdir()} == {"x.tar.gz", "x.tar.gz.unpacked.lock"}
