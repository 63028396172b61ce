"""Program: does what `hdf5_index.py` does, for many lines of JSON arguments in one process.

python hdf5_worker.py HDF5_INDEX.PY
"""

import importlib.util
import json
import resource
import sys


def main(program: str) -> None:
    spec = importlib.util.spec_from_file_location("hdf5_index", program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    for line in sys.stdin:
        path, copies, max_bytes = json.loads(line)
        try:
            answer = module.index(path, copies, int(max_bytes))
        except Exception as error:
            answer = {"fault": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
