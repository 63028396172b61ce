"""Workers of one few-shot sweep of the variant "tiny", forks of one process, some of which are killed.

Reads a line of JSON per sweep, with its settings and "workers", "kills" and "pause" of `killed_workers.run`; prints the
number of kills. Logs each run that begins to runs.txt in the folder of the sweep.
"""

import functools
import json
import sys

import killed_workers
import tiny  # noqa: F401  adds the variant

from bit_keras import few_shot
from bit_keras.data.loaders import tf_data  # noqa: F401  imports TensorFlow
from bit_keras.finetune import finetuner  # noqa: F401  imports what a run needs; nothing is computed before the fork
from bit_keras.runs import run as training_run
from bit_keras.system import leases

leases.BEAT, leases.PATIENCE = 0.2, 5.0
training_run.report.write = lambda *arguments: None  # figures of the runs, which are slow
_measure = few_shot._measure


def _logged(method, run, source, draw, folder, options) -> dict:
    what = "again" if (folder / "few_shot.json").exists() else "begin"
    with open(folder.parents[1] / "runs.txt", "a") as file:
        file.write(f"{what} {folder.name}\n")
    return _measure(method, run, source, draw, folder, options)


def main() -> None:
    few_shot._measure = _logged
    for line in sys.stdin:
        settings = json.loads(line)
        forks = {name: settings.pop(name) for name in ("workers", "kills", "pause")}
        _, killed = killed_workers.run(functools.partial(few_shot.sweep, **settings, verbose=False), **forks)
        print(killed)


if __name__ == "__main__":
    main()
