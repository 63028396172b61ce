"""Leases on folders: locks between machines, of which a shared folder must only have exclusive creation of files.

The holder of a lease renews its file. Others watch whether the content changes, by their own clocks, since those of
machines differ. A lease that has not changed for `PATIENCE` seconds is dead, and is taken over by creating the file of
the next number, which only one process can do; the file of the highest number counts.
"""

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from pathlib import Path

BEAT = 5.0  # seconds between two renewals
PATIENCE = 60.0  # seconds without one after which a lease is dead
_NAME = ".lease"
_RELEASED = b"released"


class Lease:
    """A lease that this process holds, which a thread renews until it ends in one of three ways.

    Args:
        path: its file, which is created.

    Raises:
        FileExistsError: another process was faster.
    """

    def __init__(self, path: Path):
        self._path, self._ended = path, threading.Event()
        # The random part: machines may have the same name.
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "id": os.urandom(8).hex()}
        self._holder = json.dumps(holder)
        with open(path, "xb") as file:
            file.write(self._content(0))
        self._thread = threading.Thread(target=self._renew, name=f"lease {path}", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Lets anyone take the lease at once."""
        self.abandon()
        with contextlib.suppress(OSError):
            self._write(_RELEASED)

    def abandon(self) -> None:
        """Stops renewing the lease, so that it dies like that of a killed process."""
        self._ended.set()
        self._thread.join()

    def remove(self) -> None:
        """Deletes all leases on the folder, for which nobody has a use any more."""
        self.abandon()
        for path in self._path.parent.glob(f"{_NAME}.*"):
            path.unlink(missing_ok=True)

    def _renew(self) -> None:
        for beat in itertools.count(1):
            if self._ended.wait(BEAT):
                return
            with contextlib.suppress(OSError):  # the network is down for a moment, or another process has deleted it
                self._write(self._content(beat))

    def _content(self, beat: int) -> bytes:
        return f"{self._holder}\n{beat}".encode()

    def _write(self, content: bytes) -> None:
        """Replaces the content of the file; in place, so that a deleted one is not recreated."""
        with open(self._path, "r+b") as file:
            file.write(content)
            file.truncate()


class Watch:
    """Takes leases; remembers what this process has seen of those of others."""

    def __init__(self):
        self._seen = {}  # {folder: (number, content, time at which it was first seen)}

    def take(self, folder: Path) -> Lease | None:
        """Returns the lease on a folder, which is created; None if another process has it."""
        folder.mkdir(parents=True, exist_ok=True)
        number, content = _current(folder)
        if not self._is_free(folder, number, content):
            return None
        try:
            return Lease(folder / f"{_NAME}.{number + 1}")
        except FileExistsError:
            return None

    def is_free(self, folder: Path) -> bool:
        """Tells whether nobody holds a lease on a folder that is not dead."""
        return self._is_free(folder, *_current(folder))

    def holder(self, folder: Path) -> str:
        """Returns who holds the lease on a folder, as a text."""
        try:
            named = json.loads(_current(folder)[1].splitlines()[0])
            return f"process {named['pid']} on {named['host']}"
        except (ValueError, IndexError, KeyError, TypeError):
            return "another process"

    def _is_free(self, folder: Path, number: int, content: bytes) -> bool:
        if number < 0 or content == _RELEASED:
            return True
        now, seen = time.monotonic(), self._seen.get(folder)
        if seen is None or seen[:2] != (number, content):
            self._seen[folder] = seen = number, content, now
        return now - seen[2] >= PATIENCE


def _current(folder: Path) -> tuple[int, bytes]:
    """Returns number and content of the lease that counts, (-1, b"") if there is none."""
    numbers = [int(path.suffix[1:]) for path in folder.glob(f"{_NAME}.*") if path.suffix[1:].isdecimal()]
    if not numbers:
        return -1, b""
    try:
        return max(numbers), (folder / f"{_NAME}.{max(numbers)}").read_bytes()
    except FileNotFoundError:  # it has just ended
        return -1, b""
