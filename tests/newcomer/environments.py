"""Builds the wheel, and installs it in empty virtual environments outside of the checkout."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from watched import Failed

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]


def build_wheel(root: Path) -> Path:
    """Builds the wheel in `root`, from a copy of the checkout, since a build leaves files behind."""
    source = copy_checkout(root / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", root / "wheel", source]
    quietly([*command, "--disable-pip-version-check"])
    (wheel,) = (root / "wheel").glob("bit_keras-*.whl")
    print(f"newcomer: built {wheel.name}, {wheel.stat().st_size:,} bytes", flush=True)
    return wheel


def copy_checkout(folder: Path) -> Path:
    """Copies the checkout, without what builds and programs leave in it, and returns the folder."""
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "demo_output"
    )
    return shutil.copytree(CHECKOUT, folder, ignore=ignored)


def install(folder: Path, wheel: Path, extras: str = "") -> Path:
    """Makes a virtual environment with the wheel and some of its extras, and returns its folder of programs."""
    quietly([sys.executable, "-m", "venv", folder])
    pip(folder / "bin", "install", f"{wheel}[{extras}]" if extras else str(wheel))
    return folder / "bin"


def pip(bin_folder: Path, *arguments: str) -> None:
    """Runs pip in an environment."""
    began = time.monotonic()
    quietly([bin_folder / "python", "-m", "pip", *arguments, "--disable-pip-version-check"])
    print(f"newcomer: pip {' '.join(arguments)}, {time.monotonic() - began:.0f} s", flush=True)


def variables(bin_folder: Path) -> dict[str, str]:
    """Returns the environment variables of a new user, without those of tests, tools and this checkout."""
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR", "USER")}
    return {
        **kept,
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        # tensorflow-hub 0.16 imports pkg_resources, which warns that it is deprecated.
        "PYTHONWARNINGS": "ignore:pkg_resources:UserWarning",
    }


def quietly(command: list, folder: str | Path = "/", environment: dict[str, str] | None = None) -> str:
    """Runs a command and returns what it prints, in `folder`, with additional environment variables."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout
