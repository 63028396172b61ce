"""The frame of a benchmark's program, and of the processes of its own in which it measures."""

import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import flags


def run(main: Callable[[], None], inner: str = "") -> NoReturn:
    """Runs a benchmark as the programs of bit_keras are run, with `--help` and errors in one line.

    Args:
        main: the program; its flags have been defined.
        inner: the flag with which the program starts itself to measure; "" if it does not. Such a process imports
            bit_keras and Keras only if `main` does, because an import would change what is measured.
    """
    if inner and any(argument.startswith(f"--{inner}=") for argument in sys.argv[1:]):
        flags.FLAGS(sys.argv)
        try:
            main()
        except KeyboardInterrupt:  # the program that started this process reports it
            sys.exit(130)
        sys.exit(0)
    from bit_keras.system import command_line

    command_line.run(main, errors=(subprocess.CalledProcessError,))
