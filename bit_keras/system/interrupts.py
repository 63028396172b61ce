"""Ctrl-C in the programs of this project while they start and end: one line instead of a traceback."""

import os
import signal
import sys
import threading
from pathlib import Path

_ROOT = Path(__file__).parents[2]  # a checkout, or the folder that the package is installed in
STATUS = 128 + signal.SIGINT  # as shells report it


def is_program() -> bool:
    """Tells whether Python was started with a program of this project: one of its modules, or a console script."""
    module = _module(sys.orig_argv[1:])
    if module is None:
        return os.path.basename(sys.argv[0]).startswith("bit-")
    if module.partition(".")[0] == "bit_keras":
        return True
    in_checkout = (_ROOT / "pyproject.toml").is_file()
    return in_checkout and Path(_ROOT, *module.split(".")).with_suffix(".py").is_file()


def _module(arguments: list[str]) -> str | None:
    """Returns the module that `python -m` was called with, None if Python was started in another way."""
    remaining = iter(arguments)
    for argument in remaining:
        if argument in ("-W", "-X"):
            next(remaining, None)
        elif argument.startswith("-m"):
            return argument.removeprefix("-m") or next(remaining, None)
        elif not argument.startswith("-") or argument.startswith("-c"):
            break
    return None


def exit_quietly() -> None:
    """From now on Ctrl-C ends the process at once: nothing is being written.

    Not by an exception: extension modules that are being imported turn it into errors of their own.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _exit)


def raise_exceptions() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again, unless the process ignores it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(*_) -> None:
    os.write(2, b"stopped by Ctrl-C\n")
    os._exit(STATUS)
