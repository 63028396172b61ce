"""Program: installs the wheel with one extra at a time, in fresh environments, and predicts and trains there.

    python tests/newcomer/install_check.py            none, jax, torch and tensorflow
    python tests/newcomer/install_check.py jax none   these only

Without an extra, `import bit_keras` must say what to install. Needs Python and the package index; `make install-check`
runs it.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environments import HERE, build_wheel, install, variables
from watched import Failed, watch

EXTRAS = ("none", "jax", "torch", "tensorflow")
_COMPILING = 600.0  # most seconds without output: Keras prints nothing while it compiles, minutes on a busy machine


def main(extras: list[str]) -> None:
    if unknown := set(extras) - set(EXTRAS):
        sys.exit(f"extras must be some of {', '.join(EXTRAS)}, got {', '.join(sorted(unknown))}")
    rows, failures = [], []
    with tempfile.TemporaryDirectory(prefix="install_check") as root:
        wheel = build_wheel(Path(root))
        for extra in extras or EXTRAS:
            began = time.monotonic()
            print(f"newcomer: --- {extra} ---", flush=True)
            try:
                check(extra, wheel)
            except Failed as failure:
                failures.append(f"{extra}: {failure}")
            result = "failed" if failures and failures[-1].startswith(f"{extra}: ") else "ok"
            rows.append(f"{extra:<12}{result:<8}{time.monotonic() - began:4.0f} s")
    print("\n".join(["", *rows]))
    if failures:
        raise Failed("\n\n".join(failures))


def check(extra: str, archive: Path) -> None:
    """Installs a wheel or source archive with an extra, and checks imports, a prediction and a short training."""
    with tempfile.TemporaryDirectory(prefix=f"install_check_{extra}") as folder:
        scratch = Path(folder, "scratch")
        scratch.mkdir()
        bin_folder = install(Path(folder, "environment"), archive, "" if extra == "none" else extra)
        # Keras would read a backend from ~/.keras/keras.json.
        environment = {**variables(bin_folder), "KERAS_HOME": str(scratch)}
        if extra == "none":
            _check_message(bin_folder, environment, ["needs one of three backends", "[tensorflow]", "[jax]", "[torch]"])
            return
        if extra != "tensorflow":  # Keras's default
            _check_message(bin_folder, environment, [f"Set KERAS_BACKEND to {extra}", "bit-keras[tensorflow]"])
            environment["KERAS_BACKEND"] = extra
        for program in ("declared_imports.py", "first_steps.py"):
            watch([bin_folder / "python", HERE / program], scratch, environment, silence=_COMPILING)


def _check_message(bin_folder: Path, environment: dict[str, str], parts: list[str]) -> None:
    """Checks that the import fails with a message of these parts, and without a traceback inside of Keras."""
    command = [str(bin_folder / "python"), "-c", "import bit_keras"]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    if not done.returncode or "keras/src" in done.stderr or not all(part in done.stderr for part in parts):
        raise Failed(f"import bit_keras must fail with {parts}, got status {done.returncode} and\n{done.stderr}")
    message = done.stderr[done.stderr.rindex("ImportError: ") :].rstrip()
    print(f"newcomer: import bit_keras, as it must:\n{message}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failed as failure:
        sys.exit(f"newcomer: {failure}")
