"""Program: runs a training per line of JSON settings, each in a fork of itself, which imports nothing again.

    python training_forks.py finetune|detect VARIANT.py

VARIANT.py adds a small variant. Prints the process id of the fork, then its exit status (negative: the signal that
ended it).
"""

import gc
import json
import os
import runpy
import sys
import traceback

import bit_keras
from bit_keras import detection
from bit_keras.data.loaders import tf_data  # noqa: F401  imports TensorFlow, which tf.data needs on every backend
from bit_keras.detection.training import trainer  # noqa: F401  imports what a run needs; nothing is computed before
from bit_keras.finetune import finetuner  # noqa: F401

TRAININGS = {"finetune": bit_keras.finetune, "detect": detection.train}


def main(training: str, variant: str) -> None:
    runpy.run_path(variant)
    train = TRAININGS[training]
    gc.collect()
    gc.freeze()  # the imported modules are no garbage, and stay shared with the forks
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 1
            try:
                train(**json.loads(line), verbose=False)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
