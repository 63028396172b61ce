"""Programs in a process of their own."""

import os
import subprocess
import sys


def run_python(fault: str, *arguments) -> str:
    """Runs Python on the tensorflow backend without a GPU.

    Args:
        fault: what it means when the program fails.
        *arguments: of the interpreter, for example a path, or "-m" and a module.

    Returns:
        Its standard output.

    Raises:
        RuntimeError: the program failed. The message is `fault` and all that the program said.
    """
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(sys.path),  # finds what this process found, installed or not
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    # -P: neither the folder of a program nor the current one may hide a module.
    command = [sys.executable, "-P", *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{fault} (exit status {result.returncode}):\n{result.stderr}")
    return result.stdout
