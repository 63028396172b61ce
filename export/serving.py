"""Program: `bit-export serving`, as `python -m export.serving`."""

from bit_keras.export.__main__ import run_subcommand

if __name__ == "__main__":
    run_subcommand("serving", "python -m export.serving")
