"""Runs several saved_model_cli commands in one process, because importing TensorFlow takes long.

python serving_cli.py '[["show", "--dir", ...], ["run", ...]]'
"""

import json
import sys

from tensorflow.python.tools import saved_model_cli


def run(commands: list[list[str]]) -> None:
    for command in commands:
        sys.argv = ["saved_model_cli", *command]
        try:
            saved_model_cli.main()
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
