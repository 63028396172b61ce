"""Program: `bit-export edge`, as `python -m export.edge`."""

from bit_keras.export.__main__ import run_subcommand

if __name__ == "__main__":
    run_subcommand("edge", "python -m export.edge")
