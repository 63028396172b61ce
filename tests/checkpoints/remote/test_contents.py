"""Complete and incomplete files."""

import json

import h5py
import numpy as np
import pytest
import safetensors.numpy

from bit_keras.checkpoints import CheckpointError
from bit_keras.checkpoints.remote.contents import check_contents


def _safetensors(header, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.fixture
def hdf5_bytes(tmp_path) -> bytes:
    with h5py.File(tmp_path / "source", "w") as file:
        file["weights"] = np.ones(10_000)
    return (tmp_path / "source").read_bytes()


@pytest.fixture
def check(tmp_path):
    def run(content: bytes, name: str):
        path = tmp_path / "weights.part"
        path.write_bytes(content)
        check_contents(path, name)
        assert path.read_bytes() == content

    return run


@pytest.mark.parametrize("name", ["w.npz", "w.keras", "w.zip", "W.NPZ"])
def test_zip_archives(check, npz_bytes, name):
    check(npz_bytes, name)
    for content in (npz_bytes[:-1], npz_bytes[: len(npz_bytes) // 2], npz_bytes[1000:-1000], b"", b"weights"):
        with pytest.raises(CheckpointError, match=rf"{name} is no complete zip archive: \w+"):
            check(content, name)


def test_hdf5_files(check, hdf5_bytes):
    check(hdf5_bytes, "w.weights.h5")
    for content in (hdf5_bytes[:-1], hdf5_bytes[:600], hdf5_bytes[:8]):
        with pytest.raises(CheckpointError, match=r"w.h5 is no complete HDF5 file: .*"):
            check(content, "w.h5")
    for content in (b"", b"weights", hdf5_bytes[1:]):
        with pytest.raises(CheckpointError, match=r"w.h5 is no complete HDF5 file: .*file signature not found"):
            check(content, "w.h5")


def test_safetensors_files(check):
    arrays = {"a": np.ones((3, 5), "float32"), "b": np.zeros(7, "float16"), "c": np.zeros((0, 2), "float32")}
    content = safetensors.numpy.save(arrays, metadata={"format": "np"})
    check(content, "w.safetensors")
    check(safetensors.numpy.save({}), "w.safetensors")
    for broken in (content[:-1], content + b"\0"):
        with pytest.raises(CheckpointError, match=f"asks for {len(content)} bytes, it has {len(broken)}"):
            check(broken, "w.safetensors")
    for broken in (content[:20], content[:5], b""):
        with pytest.raises(CheckpointError, match=r"a header of \d+ bytes must fit into \d+ bytes"):
            check(broken, "w.safetensors")


def test_a_safetensors_header_has_a_bound(tmp_path):
    path = tmp_path / "w.safetensors"
    with open(path, "wb") as stream:
        stream.write((100_000_001).to_bytes(8, "little"))
        stream.truncate(200_000_000)  # sparse
    with pytest.raises(CheckpointError, match="a header of 100000001 bytes must fit into 100000000 bytes"):
        check_contents(path, path.name)


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        [1, 2],
        {"a": 1},
        {"a": {}},
        {"a": {"data_offsets": [0]}},
        {"a": {"data_offsets": [0, None]}},
        {"a": {"data_offsets": [2, 4]}},
        {"a": {"data_offsets": [4, 0]}},
        {"a": {"data_offsets": [0, 3]}, "b": {"data_offsets": [2, 4]}},
    ],
)
def test_malformed_safetensors_headers(check, header):
    with pytest.raises(CheckpointError, match=r"w\.safetensors has a malformed safetensors header"):
        check(_safetensors(header, bytes(4)), "w.safetensors")


@pytest.mark.parametrize("name", ["w.npz", "w.h5", "w.safetensors", "saved_model.pb"])
@pytest.mark.parametrize("start", [b"<!DOCTYPE html>", b"\xef\xbb\xbf\r\n <html lang='en'>"])
def test_web_pages(check, name, start):
    page = start + b"\n<head>\n\n  <title>Log in to the network</title>\n" + b"<p>" * 10_000
    with pytest.raises(
        CheckpointError, match=r"answered with a web page .*captive portal(.|\n)*Log in to the net"
    ) as caught:
        check(page, name)
    assert len(str(caught.value)) < 500


def test_other_names_may_hold_anything(check):
    for content in (b"", b"\0" * 10, b"words"):
        check(content, "saved_model.pb")
