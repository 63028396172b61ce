"""TensorFlow's import without what its libraries print then, which looks like errors and is none.

Neither `TF_CPP_MIN_LOG_LEVEL` nor Python's `logging` reaches these lines: they are written before both are looked at.
Set `TF_CPP_MIN_LOG_LEVEL=0` to see everything.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, that of WSL, AMD's
_SILENCE = 4.0  # seconds after which a line tells what the process is doing

# The lines to leave out, by words of theirs. Anything else is passed on.
_NOISE = (
    "All log messages before absl::InitializeLog",
    "Could not find cuda drivers on your machine",
    "failed call to cuInit",
    "This TensorFlow binary is optimized to use available CPU instructions",
    "To enable the following instructions",
    "oneDNN custom operations are on",
    "factory for plugin",  # cuDNN, cuFFT and cuBLAS are "already registered" wherever TensorFlow finds a GPU
    "computation placer already registered",
)

# A process of its own, so that the last words of an import that aborts are not lost with it.
_FILTER = """
import os, sys
noise = sys.argv[1:]
for line in sys.stdin.buffer:
    if not any(words.encode() in line for words in noise):
        os.write(2, line)
"""


def import_backend() -> None:
    """Imports Keras, and with it its backend."""
    if "keras" not in sys.modules:
        with quiet("importing Keras and its backend"):
            importlib.import_module("keras")


@contextlib.contextmanager
def quiet(what: str) -> Iterator[None]:
    """Leaves out the noise of TensorFlow's start that is written to standard error in the block.

    Args:
        what: told on standard error, every few seconds, where the block takes long.
    """
    # Errors of TensorFlow's C++ code reach Python as exceptions; besides, it only prints that no GPU was found.
    has_gpu = any(map(os.path.exists, _GPU_DRIVERS))
    level = os.environ.setdefault(_LEVEL, "1" if has_gpu else "3")
    if level == "0" or "tensorflow" in sys.modules or importlib.util.find_spec("tensorflow") is None:
        yield
        return
    try:
        screen = os.dup(2)
        command = [sys.executable, "-I", "-S", "-c", _FILTER, *_NOISE]
        sieve = subprocess.Popen(command, stdin=subprocess.PIPE)
    except (OSError, TypeError):  # no standard error, or no interpreter of its own: an application that embeds Python
        yield
        return
    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(screen, what, done), daemon=True)
    teller.start()
    os.dup2(sieve.stdin.fileno(), 2)
    try:
        yield
    finally:
        done.set()
        teller.join()
        os.dup2(screen, 2)
        os.close(screen)
        sieve.stdin.close()
        sieve.wait()


def _tell(screen: int, what: str, done: threading.Event) -> None:
    began = time.monotonic()
    while not done.wait(_SILENCE):
        os.write(screen, f"{what}: {time.monotonic() - began:.0f} s so far\n".encode())
