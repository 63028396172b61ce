"""Program: `bit-export hub`, as `python -m export.tfhub`."""

from bit_keras.export.__main__ import run_subcommand

if __name__ == "__main__":
    run_subcommand("hub", "python -m export.tfhub")
