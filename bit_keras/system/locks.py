"""Locks between processes, which end with the process that holds them, however it ends.

`filelock` leaves its file behind and, in the versions before 4, empties it: it could not name the holder.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"  # of the file that is locked in place of its folder
_PATIENCE = 2  # seconds in which a process that has locked a file writes its name into it


class NoLocksError(OSError):
    """The file system has no locks, as some network file systems."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[int]:
    """Creates a file and locks it, without waiting; deletes it at the end. Yields its descriptor.

    Raises:
        BlockingIOError: it is locked, by this process or another one.
        NoLocksError: the file system has no locks.
        FileNotFoundError: its folder does not exist.
    """
    owner, descriptor = os.getpid(), _lock(path)
    try:
        _name_holder(descriptor)
        yield descriptor
    finally:
        if os.getpid() == owner and is_same(descriptor, path):  # not in a fork, which has a copy of the lock
            path.unlink()
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Tells whether a process holds the lock of a file, which is neither made nor changed."""
    if fcntl is None:
        return False
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # no such file, or no locks
        return isinstance(error, BlockingIOError)
    return False


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """As `held`, but waits for its turn, and does without a lock where the file system has none."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held(path))
            except BlockingIOError:
                time.sleep(0.02)
                continue
            except NoLocksError:
                pass
            break
        yield


def is_same(descriptor: int, path: Path) -> bool:
    """Returns whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def holder(path: Path) -> str:
    """Returns who has locked a file and since when, as a text; "another process" if that cannot be found out."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            named = json.loads(path.read_text(encoding="utf-8"))
            if _may_run(named) or time.monotonic() > deadline:
                return f"process {named['pid']} on {named['host']}, since {named['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                return "another process"
        time.sleep(0.02)


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # NFS locks only what is open for writing
        try:
            _try(descriptor, path)
            if is_same(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has just deleted the file: another process would lock a new one


def _try(descriptor: int, path: Path) -> None:
    try:
        if fcntl is None:
            raise OSError(0, "the operating system lacks them")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise BlockingIOError(error.errno, "in use by another process", os.fspath(path)) from error
    except OSError as error:
        path.unlink(missing_ok=True)
        raise NoLocksError(f"no locks for files in {path.parent}: {error.strerror}") from error


def _name_holder(descriptor: int) -> None:
    """Writes who holds the lock, in place of an earlier holder that was killed."""
    named = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(named).encode(), 0)


def _may_run(named: dict) -> bool:
    """Returns whether a holder may be running: a killed one is named until the next one has written its name."""
    if named["host"] != socket.gethostname():
        return True
    try:
        os.kill(named["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        return True
    return True
