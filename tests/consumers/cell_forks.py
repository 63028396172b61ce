"""Workers that share cells, `bit_keras.runs.cells.complete` in forks of one process, some of which are killed.

Arguments: folder, number of cells, of workers and of kills. A log has a line when a cell begins. Prints the number of
kills, and what each worker that was not killed returns, as JSON.
"""

import fcntl
import functools
import json
import os
import random
import sys
import time
from pathlib import Path

import keras
import killed_workers

from bit_keras.runs.cells import Cell, complete
from bit_keras.system import leases

leases.BEAT, leases.PATIENCE = 0.05, 6.0


def _measure(folder: Path, number: int) -> dict:
    _log(folder, "again" if (folder / "runs" / str(number) / "cell.json").exists() else "begin", number)
    with open(folder / f"{number}.test", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log(folder, "together", number)
        time.sleep(random.Random(number).uniform(0.02, 0.3))
    return {"value": random.Random(number).random()}


def _log(folder: Path, what: str, number: int) -> None:
    with open(folder / "log.txt", "a") as file:
        file.write(f"{what} {number}\n")


def _cells(folder: Path, numbers: range):
    for number in numbers:
        cell = Cell(folder / "runs" / str(number) / "cell.json", {"number": number})
        yield cell, functools.partial(_measure, folder, number)


def _work(folder: Path, count: int) -> None:
    groups = [functools.partial(_cells, folder, range(i, min(i + 5, count))) for i in range(0, count, 5)]
    results = complete(groups, lambda cell, results: None)
    (folder / f"{os.getpid()}.json").write_text(json.dumps(results))


def main() -> None:
    keras.backend.clear_session = lambda: None  # takes longer than these cells, which make no network
    folder, (count, workers, kills) = Path(sys.argv[1]), map(int, sys.argv[2:])
    ended, killed = killed_workers.run(functools.partial(_work, folder, count), workers, kills, pause=0.3)
    print(json.dumps({"killed": killed, "results": [json.loads((folder / f"{k}.json").read_text()) for k in ended]}))


if __name__ == "__main__":
    main()
