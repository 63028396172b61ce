"""Program: builds the wheel, installs it in an empty environment, and runs the code of the pages, as a new user would.

The checkout cannot be imported there. The program fails if a command fails, prints a traceback or TensorFlow's messages
at start-up, or prints nothing for long. Needs Python and the package index; `make newcomer` runs it.
"""

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from readme import PAGES, commands, programs, python_program
from tfds_mentions import mentioned_names
from watched import Failed, watch

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
EXTRAS = "hub,few-shot,safetensors"  # those that the code of the pages needs


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="newcomer") as folder:
        root = Path(folder)
        scratch, other = root / "python", root / "commands"
        scratch.mkdir()
        wheel = _build(root)
        bin_folder = _install(root, str(wheel))
        environment = _environment(bin_folder)

        def python(*arguments: object) -> None:
            watch([bin_folder / "python", *arguments], scratch, environment)

        python(HERE / "declared_imports.py")
        python(HERE / "tfds_names.py", *mentioned_names(CHECKOUT))
        _pip(bin_folder, "install", f"{wheel}[{EXTRAS}]")
        _pip(bin_folder, "check")
        python(HERE / "make_inputs.py")
        shutil.copytree(scratch, other)
        with concurrent.futures.ThreadPoolExecutor() as pool:  # two at a time: most programs use a single thread
            futures = [
                pool.submit(_run_python_code, bin_folder, scratch, environment),
                pool.submit(_run_commands, bin_folder, other, environment),
            ]
            failures = [str(future.exception()) for future in futures if future.exception()]
        if failures:
            raise Failed("\n\n".join(failures))
    print(f"newcomer: all done in {time.monotonic() - began:.0f} s")


def _build(root: Path) -> Path:
    """Builds the wheel from a copy, since a build leaves files behind."""
    source = root / "source"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__", "demo_output")
    shutil.copytree(CHECKOUT, source, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", root / "wheel", source]
    _quietly([*command, "--disable-pip-version-check"])
    (wheel,) = (root / "wheel").glob("bit_keras-*.whl")
    print(f"newcomer: built {wheel.name}, {wheel.stat().st_size:,} bytes")
    return wheel


def _install(root: Path, wheel: str) -> Path:
    _quietly([sys.executable, "-m", "venv", root / "environment"])
    bin_folder = root / "environment" / "bin"
    _pip(bin_folder, "install", wheel)
    return bin_folder


def _pip(bin_folder: Path, *arguments: str) -> None:
    began = time.monotonic()
    _quietly([bin_folder / "python", "-m", "pip", *arguments, "--disable-pip-version-check"])
    print(f"newcomer: pip {arguments[0]}, {time.monotonic() - began:.0f} s", flush=True)


def _quietly(command: list) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def _environment(bin_folder: Path) -> dict[str, str]:
    """Returns the environment variables of a new user, without those of tests, tools and this checkout."""
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR", "USER")}
    return {
        **kept,
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        # tensorflow-hub 0.16 imports pkg_resources, which warns that it is deprecated.
        "PYTHONWARNINGS": "ignore:pkg_resources:UserWarning",
    }


def _pages() -> list[Path]:
    return [CHECKOUT / page for page in PAGES]


def _run_python_code(bin_folder: Path, scratch: Path, environment: dict[str, str]) -> None:
    program = scratch / "readme.py"
    program.write_text(python_program(_pages()))
    mirror = {"BIT_KERAS_MIRROR": str(scratch / "mirror"), "BIT_KERAS_CACHE": str(scratch / "cache")}
    # Keras prints nothing while `fit` compiles.
    lines = watch([bin_folder / "python", program], scratch, {**environment, **mirror}, silence=120)
    for expected in ("test accuracy", "weights in runs/cifar10/weights.npz", "report in runs/cifar10/report"):
        if not any(line.startswith(expected) for line in lines):
            raise Failed(f"finetune() must print {expected!r} in Python; it printed\n" + "\n".join(lines))
    lines = watch([bin_folder / "python", HERE / "silent_call.py"], scratch, environment)
    if lines := [line for line in lines if not line.startswith("importing Keras")]:  # printed before the call
        raise Failed("verbose=False must print nothing, got\n" + "\n".join(lines))


def _run_commands(bin_folder: Path, scratch: Path, environment: dict[str, str]) -> None:
    for program in programs(CHECKOUT / "setup.cfg"):
        lines = watch([bin_folder / program, "--help"], scratch, environment)
        if not any(line.startswith(f"usage: {program}") for line in lines):
            raise Failed(f"{program} --help must print its usage, got\n" + "\n".join(lines))
    for command in commands(_pages()):
        watch(["bash", "-c", command], scratch, environment)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"newcomer: {failure}")
