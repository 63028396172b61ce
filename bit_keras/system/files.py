"""Atomic writes: a file is replaced completely or not at all, also if the process is killed."""

import contextlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

UNFINISHED = ".unfinished"


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path of the same name, which is renamed to `path` at the end of the block.

    If the block raises, `path` is unchanged and the temporary files are deleted.

    Args:
        path: the file or folder to write; missing parent folders are created, an existing file is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED) as scratch:
        temporary = Path(scratch, path.name)
        yield temporary
        os.replace(temporary, path)


def sweep(folder: str | os.PathLike) -> None:
    """Deletes the temporary files of killed processes below `folder`, where no process may be writing now."""
    for path in list(Path(folder).rglob(f".*{UNFINISHED}")):
        shutil.rmtree(path, ignore_errors=True)


def write_lines(path: str | os.PathLike, lines: Iterable[str]) -> None:
    """Writes a text file of these lines in UTF-8, atomically."""
    with whole(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Writes a JSON file atomically."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Extracts files and folders of a stranger's archive, and nothing outside of `folder`.

    Raises:
        tarfile.TarError: the archive is damaged, or would write elsewhere.
    """
    if hasattr(tarfile, "data_filter"):  # since Python 3.11.4; that of Debian 12 is older
        archive.extractall(folder, filter="data")
        return
    for member in archive.getmembers():
        path = PurePosixPath(member.name)
        if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
            raise tarfile.ExtractError(f"{member.name!r} is not a file or folder in it")
    archive.extractall(folder)
