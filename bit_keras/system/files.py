"""Atomic writes: a file is replaced completely or not at all, also if the process is killed or the machine crashes."""

import contextlib
import glob
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from bit_keras.system import locks

# A file NAME is written in a folder ".NAME.RANDOM.unfinished", which a killed process leaves behind.
UNFINISHED = ".unfinished"


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path of the same name, which is renamed to `path` at the end of the block.

    If the block raises, `path` is unchanged and the temporary files are deleted; those of a killed process are deleted
    by the next one that writes the same path. The content is on the disk before it gets its name.

    Args:
        path: the file or folder to write; missing parent folders are created, an existing file is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, glob.escape(path.name))
    with _scratch(path) as scratch:
        temporary = scratch / path.name
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)


def sweep(folder: Path, names: str = "*") -> None:
    """Deletes what killed processes left of the files with these names in `folder`, not below it.

    What another process is writing now stays, and everything where the file system has no locks to tell.
    """
    for leftover in list(folder.glob(f".{names}.*{UNFINISHED}")):
        with contextlib.suppress(OSError), locks.held(leftover / locks.NAME):
            shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Makes a temporary folder beside `path`, locked for the block, so that others see that it is in use."""
    with contextlib.ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(UNFINISHED, f".{path.name}.", path.parent))
            try:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                stack.enter_context(locks.held(folder / locks.NAME))
            except locks.NoLocksError:
                pass
            except (BlockingIOError, FileNotFoundError):
                continue  # another process took it for a leftover, before it was locked
            break
        yield folder


def _sync(path: Path) -> None:
    """Returns when a file, or all of a folder, is on the disk."""
    if path.is_symlink():
        return
    if not path.is_dir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        return
    for child in path.iterdir():
        _sync(child)
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    """As `_sync`, for the names in a folder; some file systems cannot, and need not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
