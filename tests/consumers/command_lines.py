"""Starts programs of a checkout like `python -m`, each in a fork of one process that has already imported Keras.

Reads a line of JSON per program: {"module", "arguments", "environment", "folder"}, where null leaves the environment or
the current folder as it is. Answers each with a line of JSON: [exit status, standard output, standard error].
"""

import gc
import json
import os
import runpy
import sys
import tempfile

import tiny  # noqa: F401  adds the variant

import bit_keras  # slow, and therefore imported once

assert bit_keras.__version__
gc.collect()
gc.freeze()  # the imported modules are no garbage, and stay shared with the forks
gc.set_threshold(10_000)


def start(module: str, arguments: list[str], environment: dict[str, str] | None, folder: str | None) -> list:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            if environment is not None:
                os.environ.clear()
                os.environ.update(environment)
            os.chdir(folder or ".")
            os._exit(_run(module, arguments))
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return [os.waitstatus_to_exitcode(status), out.read(), err.read()]


def _run(module: str, arguments: list[str]) -> int:
    sys.argv = [module, *arguments]
    status = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code or 0
        if isinstance(status, str):  # as Python does
            print(status, file=sys.stderr)
            status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return status


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    for line in sys.stdin:
        print(json.dumps(start(**json.loads(line))), flush=True)
