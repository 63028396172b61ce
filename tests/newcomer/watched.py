"""Runs a command as a user would, and checks its output."""

import itertools
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

# Programs print a line every 5 seconds; on a busy machine it may be late.
SILENCE = 15.0
NOISE = re.compile(
    r"^[IWEF]\d{4} \d\d|All log messages before absl|cuInit|cudart_stub|cpu_feature_guard|^Traceback|Exception ignored"
)


class Failed(Exception):
    """A command did not work for a new user."""


def watch(command: Sequence, folder: Path, environment: dict[str, str], silence: float = SILENCE) -> list[str]:
    """Runs a command and returns the lines that it printed.

    Args:
        command: program and arguments.
        folder: to run it in.
        environment: its environment variables.
        silence: most seconds between two lines.

    Raises:
        Failed: its exit status was not 0, it printed noise or a traceback, or nothing for too long.
    """
    text = " ".join(Path(part).name if isinstance(part, Path) else str(part) for part in command)
    began = time.monotonic()
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines, times = [], [began]
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        times.append(time.monotonic())
    status = process.wait()
    longest = max((b - a for a, b in itertools.pairwise(times)), default=0.0)
    print(
        f"newcomer: {text}: {time.monotonic() - began:.0f} s, {len(lines)} lines, longest silence {longest:.1f} s",
        flush=True,
    )
    faults = [f"exit status {status}"] if status else []
    faults += [f"noise: {line}" for line in lines if NOISE.search(line)]
    faults += [f"silent for {longest:.1f} s"] if longest > silence else []
    if faults:
        raise Failed(f"{text}\n" + "\n".join([*faults, "it printed:", *lines]))
    return lines
