"""The folder of a run, which belongs to one configuration."""

import json
import os
from pathlib import Path

from bit_keras.checkpoints.provenance import CONFIG
from bit_keras.system.files import sweep, write_json

# Missing in the records of earlier versions, whose runs still resume.
_NEW = ("weights",)
# Locations of the data: recorded by earlier versions, but not compared.
PLACES = ("data_dir", "manual_dir")


def claim(workdir: str | os.PathLike, config: dict) -> Path:
    """Creates the folder of a run, or opens it if an earlier start of the same run has created it.

    Args:
        workdir: the folder.
        config: everything that affects the results of the run, JSON-able.

    Raises:
        FileExistsError: the folder belongs to a run with a different configuration, or holds something else.
    """
    folder = Path(workdir)
    sweep(folder)
    check_claim(folder, config)
    if not (folder / CONFIG).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, config)
    return folder


def check_claim(workdir: str | os.PathLike, config: dict) -> None:
    """Raises what `claim` raises; writes nothing."""
    folder = Path(workdir)
    record = folder / CONFIG
    if record.is_file():
        _refuse_other(folder, json.loads(record.read_text()), json.loads(json.dumps(config)))  # tuples become lists
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"workdir must be a new or empty folder or that of the same run; {folder} is something else"
        )


def join(workdir: str | os.PathLike, config: dict) -> Path:
    """Opens the folder that another worker of the same run has claimed.

    Raises:
        FileExistsError: its configuration differs from that of this worker.
        FileNotFoundError: it has no configuration, so the workers do not share it.
    """
    folder = Path(workdir)
    record = folder / CONFIG
    if not record.is_file():
        raise FileNotFoundError(f"all workers must share workdir; the chief has made it, and here {record} is missing")
    _refuse_other(folder, json.loads(record.read_text()), json.loads(json.dumps(config)))
    return folder


def is_of(workdir: str | os.PathLike, source_description: dict) -> bool:
    """Returns whether the folder belongs to a run on data with this description, `bit_keras.data.Source.describe()`."""
    try:
        record = json.loads(Path(workdir, CONFIG).read_text())
    except (OSError, ValueError):
        return False
    now = json.loads(json.dumps({"data": source_description}))
    return isinstance(record, dict) and comparable(record).get("data") == comparable(now)["data"]


def comparable(record: dict) -> dict:
    """Returns the part of a record that identifies a run: what its data are, not their name or location.

    Args:
        record: JSON-able settings, as written by this version or an earlier one.
    """
    settings = {
        name: comparable(value) if isinstance(value, dict) else value
        for name, value in record.items()
        if name not in PLACES
    }
    if isinstance(settings.get("data"), dict):  # identified by their fingerprint
        settings.pop("dataset", None)
        settings["data"].pop("name", None)
    return settings


def _refuse_other(folder: Path, old: dict, new: dict) -> None:
    before, now = comparable(old), comparable(new)
    names = [name for name in {**before, **now} if name in before or name not in _NEW]
    changed = [name for name in names if before.get(name) != now.get(name)]
    if changed:
        lines = [f"  {name}: {old.get(name)!r} there, {new.get(name)!r} asked for" for name in changed]
        raise FileExistsError(
            f"{folder} is the workdir of another run; choose another folder or the same settings:\n" + "\n".join(lines)
        )
