"""Writing files whole or not at all."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_UNFINISHED = ".unfinished"


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path of the same name; what the block wrote there is renamed to `path` at its end.

    When the block raises, `path` stays as it was and nothing is left behind.

    Args:
        path: file or folder to be; missing parents are made, an existing file is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED) as scratch:
        temporary = Path(scratch, path.name)
        yield temporary
        os.replace(temporary, path)


def sweep(folder: str | os.PathLike) -> None:
    """Removes what processes that were killed inside `whole` left below `folder`; none may be writing there now."""
    for path in list(Path(folder).rglob(f".*{_UNFINISHED}")):
        shutil.rmtree(path, ignore_errors=True)


def write_lines(path: str | os.PathLike, lines: Iterable[str]) -> None:
    """Writes a text file of these lines in UTF-8, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Writes a JSON file, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
