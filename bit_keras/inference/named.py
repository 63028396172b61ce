"""Images that a command line names, and the results of a program: lines on standard output, and files."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from bit_keras.system.paths import check_place, expanded


def check_output(name: str, path: str | None) -> Path | None:
    """Returns the path of a file to write, None if it is not asked for; raises before anything is predicted.

    Args:
        name: of the setting, for messages.
        path: its value.

    Raises:
        ValueError, OSError: the file cannot be written.
    """
    if path is None:
        return None
    place = check_place(name, path)
    if place.is_dir():
        raise IsADirectoryError(f"a file is written, but {place} is a folder")
    return place


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines together; exits quietly if the reader has ended, such as head."""
    try:
        print("".join(f"{line}\n" for line in lines), end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        sys.exit(128 + signal.SIGPIPE)


def named_images(images: Iterable[str], from_file: str | None = None) -> Iterator[str]:
    """Yields the images of a command line, and those of the lists that it names.

    Args:
        images: paths, patterns and addresses; "-" for a list of them on standard input, one per line.
        from_file: text file that lists more, None for none.

    Raises:
        ValueError: a list is no text.
        OSError: a list cannot be read.
    """
    for image in images:
        if image == "-":
            yield from _listed("-")
        else:
            yield image
    if from_file is not None:
        yield from _listed(from_file)


def _listed(name: str) -> Iterator[str]:
    """Yields the lines of a list of images, as they arrive; "-" is standard input."""
    with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else open(expanded(name), "rb") as file:
        for line in file:
            if b"\0" in line or line.startswith((b"\xff\xd8\xff", b"\x89PNG")):
                what = "standard input" if name == "-" else name
                raise ValueError(f"{what} must be a list of images, one path or address per line; got binary data")
            if path := os.fsdecode(line.rstrip(b"\r\n")):
                yield path
