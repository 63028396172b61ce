"""Program: builds the wheel, installs it in an empty environment, and runs the code of the pages, as a new user would.

    python tests/newcomer/run.py            all pages; `make newcomer`
    python tests/newcomer/run.py --first    only README.md and docs/start.md; part of `make test`

The checkout cannot be imported there. The program fails if a command fails, prints a traceback or TensorFlow's messages
at start-up, or prints nothing for long. Needs Python and the package index.
"""

import argparse
import concurrent.futures
import shutil
import sys
import tempfile
import time
from pathlib import Path

from environments import CHECKOUT, HERE, build_wheel, install, pip, variables
from readme import FIRST_PAGES, PAGES, commands, programs, python_program
from tfds_mentions import mentioned_names
from watched import Failed, watch

# Those that the code of the pages needs.
FIRST_EXTRAS = "hub,safetensors"
EXTRAS = "detection,hub,few-shot,ray,safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", action="store_true", help="only README.md and docs/start.md")
    first = parser.parse_args().first
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="newcomer") as folder:
        run(Path(folder), build_wheel(Path(folder)), first)
    print(f"newcomer: all done in {time.monotonic() - began:.0f} s")


def run(root: Path, wheel: Path, first: bool = False) -> Path:
    """Installs the wheel in `root`, runs the code of the pages there, and returns the folder of its programs."""
    pages = [CHECKOUT / page for page in (FIRST_PAGES if first else PAGES)]
    scratch, other = root / "python", root / "commands"
    scratch.mkdir()
    bin_folder = install(root / "environment", wheel, "tensorflow")
    environment = variables(bin_folder)

    def python(*arguments: object) -> None:
        watch([bin_folder / "python", *arguments], scratch, environment)

    python(HERE / "declared_imports.py")
    python(HERE / "tfds_names.py", *mentioned_names(CHECKOUT))
    pip(bin_folder, "install", f"{wheel}[{FIRST_EXTRAS if first else EXTRAS}]")
    pip(bin_folder, "check")
    python(HERE / "make_inputs.py")
    shutil.copytree(scratch, other)
    # Two at a time: most programs use a single thread. The commands take longest, and begin at once.
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        futures = [
            pool.submit(_run_commands, pages, other, environment),
            pool.submit(_run_python_code, pages, bin_folder, scratch, environment),
            pool.submit(_show_help, bin_folder, scratch, environment),
        ]
        failures = [str(future.exception()) for future in futures if future.exception()]
    if failures:
        raise Failed("\n\n".join(failures))
    return bin_folder


def _run_python_code(pages: list[Path], bin_folder: Path, scratch: Path, environment: dict[str, str]) -> None:
    program = scratch / "readme.py"
    program.write_text(python_program(pages))
    mirror = {"BIT_KERAS_MIRROR": str(scratch / "mirror"), "BIT_KERAS_CACHE": str(scratch / "cache")}
    # Keras prints nothing while `fit` compiles.
    lines = watch([bin_folder / "python", program], scratch, {**environment, **mirror}, silence=120)
    for expected in ("test accuracy", "weights in runs/cifar10/weights.npz", "report in runs/cifar10/report"):
        if not any(line.startswith(expected) for line in lines):
            raise Failed(f"finetune() must print {expected!r} in Python; it printed\n" + "\n".join(lines))
    lines = watch([bin_folder / "python", HERE / "silent_call.py"], scratch, environment)
    if lines := [line for line in lines if not line.startswith("importing Keras")]:  # printed before the call
        raise Failed("verbose=False must print nothing, got\n" + "\n".join(lines))


def _show_help(bin_folder: Path, scratch: Path, environment: dict[str, str]) -> None:
    for program in programs(CHECKOUT / "setup.cfg"):
        lines = watch([bin_folder / program, "--help"], scratch, environment)
        if not any(line.startswith(f"usage: {program}") for line in lines):
            raise Failed(f"{program} --help must print its usage, got\n" + "\n".join(lines))


def _run_commands(pages: list[Path], scratch: Path, environment: dict[str, str]) -> None:
    for command in commands(pages):
        watch(["bash", "-c", command], scratch, environment)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"newcomer: {failure}")
