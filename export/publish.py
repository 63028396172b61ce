"""Program: `bit-export publish`, as `python -m export.publish`."""

from bit_keras.export.__main__ import run_subcommand

if __name__ == "__main__":
    run_subcommand("publish", "python -m export.publish")
