"""Program: runs `bit_keras.finetune` per line of JSON settings, each in a fork of itself, which imports nothing again.

Prints the process id of the fork, then its exit status (negative: the signal that ended it).
"""

import json
import os
import sys
import traceback

import tiny  # noqa: F401  adds the variant

import bit_keras
from bit_keras.data.loaders import tf_data  # noqa: F401  imports TensorFlow, which tf.data needs on every backend
from bit_keras.finetune import finetuner  # noqa: F401  imports what a run needs; nothing is computed before the fork


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 1
            try:
                bit_keras.finetune(**json.loads(line), verbose=False)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
