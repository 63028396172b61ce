"""Python programs in separate processes."""

import os
import subprocess
import sys


def run_python(fault: str, *arguments) -> str:
    """Runs Python in a separate process, on the tensorflow backend and without a GPU.

    Args:
        fault: beginning of the error message if the process fails.
        *arguments: of the interpreter, for example a path, or "-m" and a module.

    Returns:
        Standard output of the process.

    Raises:
        RuntimeError: the process failed. The message is `fault`, the exit status and standard error of the process.
    """
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(sys.path),  # the same modules as here, also from a checkout
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    result = _run([*map(str, arguments)], environment)
    if result.returncode:
        raise RuntimeError(f"{fault} (exit status {result.returncode}):\n{result.stderr}")
    return result.stdout


def _run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
    # -P: modules in the program's folder or the current one must not shadow installed ones.
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
