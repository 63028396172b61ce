"""Starts programs of a checkout as `python -m` does, each in a fork of one process that has imported Keras.

Argument: JSON of a list of [module, argument, ...]. Prints JSON of a list of [case, [status, stdout, stderr]].
"""

import json
import os
import runpy
import sys
import tempfile

import bit_keras  # slow, and therefore imported once

assert bit_keras.__version__


def start(module: str, *arguments: str) -> list:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os._exit(_run(module, arguments))
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return [os.waitstatus_to_exitcode(status), out.read(), err.read()]


def _run(module: str, arguments: tuple[str, ...]) -> int:
    sys.argv = [module, *arguments]
    status = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return status


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    print(json.dumps([[case, start(*case)] for case in json.loads(sys.argv[1])]))
