"""Program: `bit-export tpu`, as `python -m export.tpu`."""

from bit_keras.export.__main__ import run_subcommand

if __name__ == "__main__":
    run_subcommand("tpu", "python -m export.tpu")
