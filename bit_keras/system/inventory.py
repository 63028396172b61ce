"""Lists of the files in cached folders, which are cleaned file by file, by hand or by a program for temporary files."""

import json
import os
from pathlib import Path

from bit_keras.system.files import write_json


def record(folder: Path, **facts: str) -> None:
    """Writes the list of a folder's files next to it, NAME.files.json.

    Args:
        folder: a complete folder.
        **facts: what else must be the same for `is_complete`.
    """
    write_json(_path(folder), {"files": _sizes(folder), **facts})


def is_recorded(folder: Path) -> bool:
    """Tells whether a list of the folder's files exists."""
    return _path(folder).is_file()


def is_complete(folder: Path, **facts: str) -> bool:
    """Tells whether a folder has the files of its list, in their sizes, and the list has these facts."""
    try:
        listed = json.loads(_path(folder).read_text())
        return listed == {"files": listed["files"], **facts} and listed["files"].items() <= _sizes(folder).items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def forget(folder: Path) -> None:
    """Deletes the list, before the folder changes."""
    _path(folder).unlink(missing_ok=True)


def _path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.files.json")


def _sizes(folder: Path) -> dict[str, int]:
    found = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(found)}
