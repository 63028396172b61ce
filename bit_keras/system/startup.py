"""Imports Keras and its backend, TensorFlow without the harmless lines of its libraries that look like errors.

Neither `TF_CPP_MIN_LOG_LEVEL` nor Python's `logging` filters these lines: they are printed before either takes
effect. Set `TF_CPP_MIN_LOG_LEVEL=0` to see everything.
"""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, WSL, AMD
_BACKENDS = ("tensorflow", "jax", "torch")
_SILENCE = 4.0  # seconds between progress lines

# A line that contains one of these texts is left out; any other line is passed on.
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

# Runs in a separate process: if the import aborts this one, its last lines are still printed.
_FILTER = """
import os, sys
noise = sys.argv[1:]
for line in sys.stdin.buffer:
    if not any(words.encode() in line for words in noise):
        os.write(2, line)
"""


def import_backend() -> None:
    """Imports Keras and its backend, without TensorFlow's startup noise.

    A program ends with one line after Ctrl-C or an error; its `command_line.run` makes Ctrl-C an exception again.

    Raises:
        ImportError: Keras's backend is not installed. The message says what to install or to set.
    """
    from bit_keras.system import interrupts  # tests load this module alone

    if "keras" in sys.modules:
        return
    if not interrupts.is_program():
        _import_backend()
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        interrupts.exit_quietly()
    try:
        _import_backend()
    except (ImportError, ValueError) as error:  # ValueError: KERAS_BACKEND has another value
        sys.exit(str(error))


def _import_backend() -> None:
    try:
        with quiet("importing Keras and its backend"):
            importlib.import_module("keras")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _BACKENDS or importlib.util.find_spec(missing):
            raise
        raise ImportError(_no_backend(missing), name=missing) from None  # without the traceback inside of Keras


def _no_backend(missing: str) -> str:
    from bit_keras.system.optional import install_command  # tests load this module alone

    installed = [name for name in _BACKENDS if name != missing and importlib.util.find_spec(name)]
    if installed:
        return (
            f"the backend of Keras is {missing} here, which is not installed. Set KERAS_BACKEND to {installed[0]}, "
            f"which is installed, or install {missing}: {install_command(missing)}"
        )
    lines = [f"  {install_command(name):<38}and set KERAS_BACKEND={name}" for name in _BACKENDS]
    return "\n".join(["Keras needs one of three backends, and none is installed:", *lines])


@contextlib.contextmanager
def quiet(what: str) -> Iterator[None]:
    """Filters TensorFlow's startup noise out of standard error within the block.

    Args:
        what: description of the block, printed to standard error every few seconds while it runs.
    """
    # Without a GPU level 3 loses only the lines about the missing GPU: C++ errors reach Python as exceptions.
    has_gpu = any(map(os.path.exists, _GPU_DRIVERS))
    level = os.environ.setdefault(_LEVEL, "1" if has_gpu else "3")
    if level == "0" or "tensorflow" in sys.modules or importlib.util.find_spec("tensorflow") is None:
        yield
        return
    try:
        screen = os.dup(2)
        command = [sys.executable, "-I", "-S", "-c", _FILTER, *_NOISE]
        # A process group of its own: Ctrl-C, which is for this process, must not end the other one with a traceback.
        filtering = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)
    except (OSError, TypeError):  # an application that embeds Python, without standard error or an interpreter
        yield
        return
    done = threading.Event()
    reporter = threading.Thread(target=_report, args=(screen, what, done), daemon=True)
    reporter.start()
    os.dup2(filtering.stdin.fileno(), 2)
    try:
        yield
    finally:
        done.set()
        reporter.join()
        os.dup2(screen, 2)
        os.close(screen)
        filtering.stdin.close()
        filtering.wait()


def _report(screen: int, what: str, done: threading.Event) -> None:
    began = time.monotonic()
    while not done.wait(_SILENCE):
        os.write(screen, f"{what}: {time.monotonic() - began:.0f} s so far\n".encode())
