"""Reading and writing official npz files."""

import errno
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from bit_keras.checkpoints import CheckpointError, read_npz, write_npz
from bit_keras.checkpoints.readers.npz import open_npz

KERNEL = "resnet/root_block/standardized_conv2d/kernel"
GAMMA = "resnet/group_norm/gamma"


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {KERNEL: rng.normal(size=(7, 7, 3, 32)).astype("float32"), GAMMA: rng.normal(size=8).astype("float32")}


def _same(a: dict, b: dict) -> bool:
    return set(a) == set(b) and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


def test_round_trip_is_exact(arrays, tmp_path):
    write_npz(arrays, tmp_path / "weights.npz")
    assert _same(read_npz(tmp_path / "weights.npz"), arrays)
    write_npz(read_npz(tmp_path / "weights.npz"), os.fspath(tmp_path / "new" / "folder" / "again.npz"))
    assert _same(read_npz(os.fspath(tmp_path / "new" / "folder" / "again.npz")), arrays)


def test_official_file(golden_npz):
    arrays = read_npz(golden_npz)
    assert len(arrays) == 54
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}
    assert arrays["resnet/head/conv2d/kernel"].shape == (1, 1, 1024, 10)
    assert arrays["resnet/block1/unit01/a/group_norm/gamma"].shape == (32,)


def test_numbers_on_layer_names_are_taken_off(tmp_path):
    np.savez(
        tmp_path / "weights.npz", **{"resnet/block1/unit01/a/standardized_conv2d_17/kernel": np.ones((1, 1, 2, 3))}
    )
    assert list(read_npz(tmp_path / "weights.npz")) == ["resnet/block1/unit01/a/standardized_conv2d/kernel"]


def test_two_entries_of_one_meaning_are_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", **{GAMMA: np.ones(2), "resnet/group_norm_1/gamma": np.ones(2)})
    with pytest.raises(
        CheckpointError, match=f"two entries have the official key {GAMMA}, the second is resnet/group_norm_1/gamma"
    ):
        read_npz(tmp_path / "weights.npz")


def test_leading_ones_of_gamma_and_beta_are_taken_off(tmp_path):
    beta = "resnet/block1/unit01/a/group_norm/beta"
    np.savez(
        tmp_path / "weights.npz",
        **{GAMMA: np.arange(6.0).reshape(1, 1, 1, 6), beta: np.ones((1, 4)), KERNEL: np.ones((1, 1, 1, 5))},
    )
    arrays = read_npz(tmp_path / "weights.npz")
    np.testing.assert_array_equal(arrays[GAMMA], np.arange(6.0))
    assert arrays[beta].shape == (4,)
    assert arrays[KERNEL].shape == (1, 1, 1, 5)


@pytest.mark.parametrize("shape", [(2, 3), (6, 1), (1, 2, 1, 3), ()])
def test_no_other_axes_of_gamma_are_taken_off(tmp_path, shape):
    np.savez(tmp_path / "weights.npz", **{GAMMA: np.ones(shape)})
    assert read_npz(tmp_path / "weights.npz")[GAMMA].shape == shape


@pytest.mark.parametrize(
    "array",
    [np.array([object()]), np.array([1, 2]), np.array([True]), np.array(["text"]), np.array([1j])],
    ids=["pickle", "int", "bool", "text", "complex"],
)
def test_only_floats_are_read(tmp_path, array):
    np.savez(tmp_path / "weights.npz", **{GAMMA: array})
    with pytest.raises(CheckpointError, match=f"{GAMMA}.npy must hold floats, got"):
        read_npz(tmp_path / "weights.npz")


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_never_run(tmp_path):
    array = np.empty(1, dtype=object)
    array[0] = _Bomb(os.fspath(tmp_path / "exploded"))
    np.savez(tmp_path / "archive.npz", **{GAMMA: array})
    np.save(tmp_path / "array.npy", array)
    for name, words in (("archive.npz", "must hold floats, got object"), ("array.npy", "no readable npz file")):
        with pytest.raises(CheckpointError, match=words):
            read_npz(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_must_be_finite(arrays, tmp_path, value):
    arrays[GAMMA][3] = value
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(CheckpointError, match=f"{GAMMA} must be finite"):
        read_npz(tmp_path / "weights.npz")


def test_missing_file(tmp_path):
    for path in (tmp_path / "nothing.npz", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such weight file"):
            read_npz(path)


def test_an_empty_archive(tmp_path):
    np.savez(tmp_path / "weights.npz")
    assert read_npz(tmp_path / "weights.npz") == {}  # every model rejects it


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_other_files(tmp_path, content):
    (tmp_path / "weights.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match="no readable npz file"):
        read_npz(tmp_path / "weights.npz")


def test_a_single_array(tmp_path):
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(CheckpointError, match="no readable npz file of arrays: File is not a zip file"):
        read_npz(tmp_path / "array.npy")


def _with_header(array: np.ndarray, header: str) -> bytes:
    """Returns the .npy bytes of `array` with a different header."""
    start = np.lib.format.magic(1, 0)
    return start + len(header).to_bytes(2, "little") + header.encode() + array.tobytes()


@pytest.mark.parametrize(
    "shape",
    ["(8, 2**60)", "(1000000000000,)", "(-4, -2)", "(8, 8)", "(2, 2)", "(True, 8)", "(8.0,)", "__import__('os')"],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_headers_that_do_not_fit_the_data_are_refused_before_memory_is_taken(tmp_path, shape, method):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n"
    with zipfile.ZipFile(tmp_path / "weights.npz", "w", method) as archive:
        archive.writestr(f"{GAMMA}.npy", _with_header(np.ones(8, "float32"), header))
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"not the size of its data|no readable npz file"):
            read_npz(tmp_path / "weights.npz")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path):
    np.savez_compressed(tmp_path / "weights.npz", **{KERNEL: np.zeros((64, 1024, 1024), "float32")})
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"a file of \d+ bytes promises arrays of 268435\d+ bytes; at most"):
            read_npz(tmp_path / "weights.npz")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w", method) as archive:
        archive.writestr(f"{GAMMA}.npy", b"\0" * 100)
    with pytest.raises(CheckpointError, match=r"group_norm/gamma\.npy must be stored or deflated"):
        read_npz(tmp_path / "weights.npz")


def test_a_head_of_zeros_is_no_bomb(golden_npz, tmp_path):
    arrays = read_npz(golden_npz) | {"resnet/head/conv2d/kernel": np.zeros((1, 1, 1024, 21_843), "float32")}
    np.savez_compressed(tmp_path / "weights.npz", **arrays)
    assert _same(read_npz(tmp_path / "weights.npz"), arrays)


def test_a_member_that_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="no readable npz file"):
        read_npz(tmp_path / "weights.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(arrays, tmp_path, save, fraction):
    save(tmp_path / "weights.npz", **arrays)
    content = (tmp_path / "weights.npz").read_bytes()
    (tmp_path / "weights.npz").write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CheckpointError, match="no readable npz file"):
        read_npz(tmp_path / "weights.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_files_are_refused_or_read_as_they_were(arrays, tmp_path, save):
    arrays = {key: array[..., :4] for key, array in arrays.items()}
    save(tmp_path / "weights.npz", **arrays)
    content = np.frombuffer((tmp_path / "weights.npz").read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        damaged = content.copy()
        damaged[rng.integers(content.size, size=3)] = rng.integers(256, size=3)
        (tmp_path / "weights.npz").write_bytes(damaged.tobytes())
        try:
            received = read_npz(tmp_path / "weights.npz")
        except CheckpointError:
            refused += 1
        else:
            # Names have no checksum; the model rejects a wrong one.
            assert all(_same({"": a}, {"": b}) for a, b in zip(received.values(), arrays.values()))
    assert refused > 250


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_errors_of_the_system_are_not_blamed_on_the_file(arrays, tmp_path, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    write_npz(arrays, tmp_path / "weights.npz")
    monkeypatch.setattr(zipfile, "ZipFile", fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        read_npz(tmp_path / "weights.npz")


def test_the_file_is_closed(arrays, tmp_path, monkeypatch):
    class Archive(zipfile.ZipFile):
        def __init__(self, *args):
            super().__init__(*args)
            opened.append(self)

    opened = []
    write_npz(arrays, tmp_path / "weights.npz")
    write_npz({GAMMA: np.ones(8, int)}, tmp_path / "integers.npz")
    monkeypatch.setattr(zipfile, "ZipFile", Archive)
    read_npz(tmp_path / "weights.npz")
    with pytest.raises(CheckpointError, match="must hold floats"):
        open_npz(tmp_path / "integers.npz")
    assert [archive.fp for archive in opened] == [None, None]
    lazy = open_npz(tmp_path / "weights.npz")
    np.testing.assert_array_equal(lazy[GAMMA], arrays[GAMMA])
    lazy.close()
    assert opened[2].fp is None


def test_wrong_suffix(arrays, tmp_path):
    for name in ("weights.h5", "weights", "weights.npz.old"):
        with pytest.raises(ValueError, match=r'must end in "\.npz", got'):
            write_npz(arrays, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_old_file", [True, False])
def test_a_write_that_fails_leaves_all_as_it_was(arrays, tmp_path, monkeypatch, has_old_file):
    path = tmp_path / "weights.npz"
    if has_old_file:
        write_npz(arrays, path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}

    def fill_the_disk(file, **_):
        with open(file, "wb") as stream:
            stream.write(b"PK half of a file")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        write_npz({GAMMA: np.zeros(3)}, path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_existing_file_is_replaced(arrays, tmp_path):
    path = tmp_path / "weights.npz"
    write_npz({GAMMA: np.zeros(3, "float32")}, path)
    write_npz(arrays, path)
    assert _same(read_npz(path), arrays)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.npz"]


@pytest.mark.parametrize("text", [b"-" * 9000 + b"1", b"(" * 300, b"{'shape': (" + b"1," * 2000 + b")}"])
def test_long_headers_are_refused(tmp_path, text):
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("resnet/group_norm/gamma.npy", header + bytes(8))
    with pytest.raises(CheckpointError, match=r"x\.npz is no readable npz file of arrays: \S") as error:
        read_npz(tmp_path / "x.npz")
    assert "allow_pickle" not in str(error.value)  # NumPy advises to trust the file
