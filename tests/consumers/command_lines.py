"""Starts programs like `python -m`, each in a fork of one process that has imported the slow modules already.

The names of these modules are the arguments. Reads a line of JSON per program: {"program", "arguments", "environment",
"folder"}, where null leaves the environment or the current folder as it is. The program is a module, or the path of a
file. Answers each with a line of JSON: [exit status, standard output, standard error].
"""

import gc
import importlib
import json
import os
import runpy
import sys
import tempfile


def start(program: str, arguments: list[str], environment: dict[str, str] | None, folder: str | None) -> list:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            if environment is not None:
                os.environ.clear()
                os.environ.update(environment)
                sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
            os.chdir(folder or ".")
            os._exit(_run(program, arguments))
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return [os.waitstatus_to_exitcode(status), out.read(), err.read()]


def _run(program: str, arguments: list[str]) -> int:
    sys.argv = [program, *arguments]
    status = 1
    try:
        if program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
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
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the imported modules are no garbage, and stay shared with the forks
    gc.set_threshold(10_000)
    for line in sys.stdin:
        print(json.dumps(start(**json.loads(line))), flush=True)
