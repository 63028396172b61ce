"""The folder of a run, which belongs to one configuration, and to one process at a time."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from bit_keras.checkpoints.provenance import CONFIG
from bit_keras.system import locks
from bit_keras.system.files import sweep, write_json
from bit_keras.system.logs import logger

# Missing in the records of earlier versions, whose runs still resume.
_NEW = ("data.content", "weights.model", "weights.teacher")
# Locations of the data: recorded by earlier versions, but not compared.
PLACES = ("data_dir", "manual_dir")
# Folders in a workdir that only its run writes.
_OWN_FOLDERS = ("checkpoint", "report")


class Workdir:
    """A folder that this process has claimed; a context manager that releases it at the end of the block.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, is_there: Callable[[], bool], stack: contextlib.ExitStack):
        self.path = path
        self._is_there = is_there
        self._stack = stack

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def check(self) -> None:
        """Raises FileNotFoundError if the folder was removed or replaced since it was claimed."""
        if not self._is_there():
            raise FileNotFoundError(
                f"{self.path} was removed or replaced while a run was writing to it, so the run stops; the same "
                "command starts it again from the beginning"
            )

    def record(self, config: dict) -> None:
        """Makes the folder that of a run, which resumes there from now on: writes its configuration.

        What killed processes left in the folder is deleted.
        """
        for place in (self.path, *(self.path / name for name in _OWN_FOLDERS)):
            sweep(place)
        if not (self.path / CONFIG).exists():
            write_json(self.path / CONFIG, _as_json(config))

    def close(self) -> None:
        """Releases the folder, and removes it if it was made for this run, which has written nothing to it."""
        self._stack.close()

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self):
        self.close()


def claim(workdir: str | os.PathLike, config: dict) -> Workdir:
    """Reserves the folder of a run and records its configuration; see `reserve` and `Workdir.record`."""
    folder = reserve(workdir, config)
    try:
        folder.record(config)
    except BaseException:
        folder.close()
        raise
    return folder


def reserve(workdir: str | os.PathLike, config: dict) -> Workdir:
    """Creates the folder of a run, or opens it if an earlier start of the same run has created it.

    No other process can reserve it until it is released or this process ends, even by a kill. Writes nothing to it. An
    error leaves everything as it was.

    Args:
        workdir: the folder.
        config: everything that affects the results of the run, JSON-able.

    Raises:
        FileExistsError: the folder belongs to a run with a different configuration, or holds something else.
        BlockingIOError: the folder is in use; the message states by whom.
        ValueError: the record of the run is damaged, or `workdir` is an address.
    """
    check(workdir, config)  # raises before anything is written
    folder = Path(workdir)
    with contextlib.ExitStack() as stack:
        _make(folder, stack)
        is_there = stack.enter_context(_lock(folder))
        check(workdir, config)  # another process may have claimed and released it meanwhile
        return Workdir(folder, is_there, stack.pop_all())


def shared(workdir: str | os.PathLike) -> Workdir:
    """Returns the folder that another worker of the same run claims."""
    return Workdir(Path(workdir), Path(workdir, CONFIG).is_file, contextlib.ExitStack())


def check_joined(workdir: str | os.PathLike, config: dict) -> None:
    """Checks the folder that another worker of the same run has claimed and recorded.

    Raises:
        FileExistsError: its configuration differs from that of this worker.
        FileNotFoundError: it has no configuration, so the workers do not share it.
    """
    record = Path(workdir, CONFIG)
    if not record.is_file():
        raise FileNotFoundError(f"all workers must share workdir; the chief has made it, and here {record} is missing")
    check(workdir, config)


def share(workdir: str | os.PathLike, config: dict) -> Path:
    """Creates the folder of a series of runs, or opens it, for several processes; each run in it has a folder to claim.

    Raises:
        FileExistsError, ValueError: as `claim`.
    """
    check(workdir, config)  # raises before anything is written
    folder = Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    with locks.in_turn(folder / locks.NAME):
        check(workdir, config)  # another process may have made it meanwhile
        if not (folder / CONFIG).exists():
            write_json(folder / CONFIG, _as_json(config))
    return folder


def check(workdir: str | os.PathLike, config: dict) -> None:
    """Raises as `claim`, except that the folder is in use; writes nothing."""
    if "://" in os.fspath(workdir):
        raise ValueError(
            f"workdir must be a folder of this machine or a mounted one, got the address {workdir}; mount the bucket, "
            "for example with gcsfuse, or copy the folder there afterwards"
        )
    folder = Path(workdir)
    is_usable = not folder.exists() or (folder.is_dir() and all(map(_is_of_a_start, folder.iterdir())))
    if (folder / CONFIG).exists():  # asked last: another process may be making it
        _refuse_other(folder, _read(folder / CONFIG), _as_json(config))
    elif not is_usable:
        raise FileExistsError(
            f"workdir must be a new or empty folder or that of the same run; {folder} is something else"
        )


def check_start(workdir: str | os.PathLike, settings: dict) -> None:
    """Refuses a folder that is in use or belongs to other settings, before data and weights are read.

    Args:
        workdir: the folder; nothing is written to it.
        settings: a part of what identifies the run.

    Raises:
        FileExistsError, BlockingIOError, ValueError: as `claim`.
    """
    folder = Path(workdir)
    if (folder / CONFIG).exists():
        old = _read(folder / CONFIG)
        _refuse_other(folder, {name: value for name, value in old.items() if name in settings}, _as_json(settings))
    if locks.is_held(folder / locks.NAME):
        raise _in_use(folder)


def is_of(workdir: str | os.PathLike, source_description: dict) -> bool:
    """Returns whether the folder belongs to a run on data with this description, `bit_keras.data.Source.describe()`."""
    try:
        record = _read(Path(workdir, CONFIG))
    except (OSError, ValueError):
        return False
    return "data" in record and not differences({"data": record["data"]}, {"data": source_description}, _NEW)


def differences(before: dict, now: dict, optional: tuple[str, ...] = ()) -> list[str]:
    """Returns the names of the settings in which two records of runs differ, except for names and locations of data.

    Args:
        before: record of the earlier run.
        now: of the present one.
        optional: settings that the earlier record may lack; "data.content" for the entry "content" of "data".
    """
    before, now = _flat(comparable(_as_json(before))), _flat(comparable(_as_json(now)))
    names = [name for name in {**before, **now} if name in before or name not in optional]
    return list(dict.fromkeys(name.partition(".")[0] for name in names if before.get(name) != now.get(name)))


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


def _flat(settings: dict) -> dict:
    """Returns {name: value}, where the entries of a dict have the name "DICT.ENTRY"."""
    flat = {}
    for name, value in settings.items():
        flat |= {f"{name}.{entry}": part for entry, part in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _as_json(config: dict) -> dict:
    return json.loads(json.dumps(config))  # tuples become lists


def _make(folder: Path, stack: contextlib.ExitStack) -> None:
    """Creates a folder; when the stack ends, removes created folders that are empty, since the folder was refused."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    stack.callback(_remove_empty, missing)
    folder.mkdir(parents=True, exist_ok=True)


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):  # the first one that is not empty
        for folder in folders:
            folder.rmdir()


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[Callable[[], bool]]:
    """Locks a folder for the block; yields a function that returns whether it is still the same folder."""
    path = folder / locks.NAME
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(locks.held(path))
        except BlockingIOError:
            raise _in_use(folder) from None
        except locks.NoLocksError as error:
            logger.warning("%s: make sure that no other process uses %s at the same time", error, folder)
            yield folder.is_dir
            return
        yield lambda: locks.is_same(descriptor, path)


def _in_use(folder: Path) -> BlockingIOError:
    return BlockingIOError(
        f"{folder} is in use by {locks.holder(folder / locks.NAME)}: wait until it ends, stop it, or choose another "
        "workdir"
    )


def _is_of_a_start(path: Path) -> bool:
    """Returns whether a start that is not complete, or was killed, made a path in the folder of a run."""
    return path.name == locks.NAME or (path.name.startswith(f".{CONFIG}.") and path.name.endswith(".unfinished"))


def _read(record: Path) -> dict:
    """Returns the settings in a record; raises ValueError if it is damaged."""
    try:
        content = json.loads(record.read_bytes())
    except ValueError as error:
        fault = str(error) if record.stat().st_size else "it is empty"
    else:
        if isinstance(content, dict):
            return content
        fault = f"it holds {str(content)[:40]}"
    raise ValueError(
        f"{record} must hold the settings of a run as a JSON object, and is damaged, perhaps by a full disk or a power "
        f"failure: {fault}. Put back a copy of it, choose another workdir, or delete {record.parent} to begin anew"
    )


def _refuse_other(folder: Path, old: dict, new: dict) -> None:
    if changed := differences(old, new, _NEW):
        lines = [f"  {name}: {old.get(name)!r} there, {new.get(name)!r} asked for" for name in changed]
        raise FileExistsError(
            f"{folder} is the workdir of another run; choose another folder or the same settings:\n" + "\n".join(lines)
        )
