"""Detects incomplete weight files, by the lengths that their formats state."""

import json
import zipfile
from pathlib import Path

from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.readers.hdf5 import open_hdf5

_MAX_SAFETENSORS_HEADER = 100_000_000  # bytes; the safetensors library has the same bound


def check_contents(path: Path, name: str) -> None:
    """Checks that a file is complete, of the format that its name states, and no web page.

    Args:
        path: the file.
        name: its intended name. The format is checked if it ends in .npz, .keras, .zip, .h5 or .safetensors.

    Raises:
        CheckpointError: the file fails a check.
    """
    with open(path, "rb") as stream:
        head = stream.read(1024)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        raise web_page_error(head)
    check = _CHECKS.get(Path(name).suffix.lower())
    if check:
        check(path, name)


def web_page_error(head: bytes) -> CheckpointError:
    """Returns the error for a web page in place of a file.

    Args:
        head: first bytes of the page, of which the error quotes some.
    """
    lines = [line.strip() for line in head.decode("utf-8-sig", errors="replace").splitlines()]
    shown = "\n  ".join([line for line in lines if line][:3])[:300]
    return CheckpointError(
        "a server answered with a web page in place of the file "
        f"(a login, a mirror's index or a captive portal?), which begins\n  {shown}"
    )


def _check_zip(path: Path, name: str) -> None:
    try:
        zipfile.ZipFile(path).close()  # reads the central directory at the end of the file
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise CheckpointError(f"{name} is no complete zip archive: {error}") from error


def _check_hdf5(path: Path, name: str) -> None:
    try:
        with open_hdf5(path):  # libhdf5 checks the length stated in the superblock
            pass
    except CheckpointError as error:
        raise CheckpointError(f"{name} is no complete HDF5 file: {error}") from error


def _check_safetensors(path: Path, name: str) -> None:
    """The format is the length of a header, the header in JSON, and data without gaps.

    Source: https://github.com/huggingface/safetensors#format.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_SAFETENSORS_HEADER):
            raise CheckpointError(
                f"{name} is no complete safetensors file: a header of {length} bytes must fit into "
                f"{min(size, _MAX_SAFETENSORS_HEADER)} bytes"
            )
        header = stream.read(length)
    try:
        tensors = {key: value for key, value in json.loads(header).items() if key != "__metadata__"}
        spans = sorted(tuple(map(int, tensor["data_offsets"])) for tensor in tensors.values())
        end = 0
        for begin, next_end in spans:
            if begin != end or next_end < begin:
                raise ValueError(f"data offsets [{begin}, {next_end}] do not begin at {end}")
            end = next_end
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{name} has a malformed safetensors header: {error}") from error
    if size != 8 + length + end:
        raise CheckpointError(
            f"{name} is no complete safetensors file: its header asks for {8 + length + end:,} bytes, it has {size:,}"
        )


_CHECKS = {
    ".npz": _check_zip,
    ".keras": _check_zip,
    ".zip": _check_zip,
    ".h5": _check_hdf5,
    ".safetensors": _check_safetensors,
}
