"""Contenders that take turns, each in its own process, so that changes in the speed of the machine meet all of them.

A program is its own contender: it runs `python -m PROGRAM --contender=NAME` for each, and there calls `take_turns`.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

HALF = ", bfloat16"  # ends the name of a contender that computes in half precision
GEMM = "GEMM "  # begins the names of those that measure the machine
GEMMS = {dtype: GEMM + dtype for dtype in ("float32", "bfloat16")}
_GEMM_SIDE, _GEMM_REPEATS = 2048, 10
_MARK = "contender: "


def take_turns(step: Callable[[], object], calls: int = 1, warm_up: int = 2, **facts) -> None:
    """Runs a contender: each turn is one call of `step` that does not count, then `calls` that do.

    Args:
        step: the work; it returns when the work is done.
        calls: counted calls a turn.
        warm_up: calls before the first turn, which compile and allocate.
        **facts: what else the contest shall return, fit for JSON.
    """
    for _ in range(warm_up):
        step()
    _say(facts)
    for _ in sys.stdin:
        step()  # fills the caches with this contender's data again
        start = time.perf_counter()
        for _ in range(calls):
            step()
        _say((time.perf_counter() - start) / calls)


def contest(
    module: str, contenders: Mapping[str, Mapping[str, str]], rounds: int, flags: Sequence[str] = ()
) -> tuple[dict[str, list[float]], dict[str, dict]]:
    """Lets contenders take turns.

    Args:
        module: program that runs as a contender where it is given --contender.
        contenders: {name: environment variables of its process}.
        rounds: turns of each.
        flags: further flags of the program.

    Returns:
        {name: seconds of a call in each round}, and {name: facts}.

    Raises:
        RuntimeError: a contender ended before its turn.
    """
    processes = {}
    try:
        facts, seconds = {}, {name: [] for name in contenders}
        for name, environment in contenders.items():
            command = [sys.executable, "-m", module, f"--contender={name}", *flags]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment}
            processes[name] = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            facts[name] = _answer(name, processes[name])  # one after another: they warm up alone
        for _ in range(rounds):
            for name, process in processes.items():
                process.stdin.write("go\n")
                process.stdin.flush()
                seconds[name].append(_answer(name, process))
        return seconds, facts
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def ratio(seconds: Mapping[str, Sequence[float]], slow: str, fast: str) -> str:
    """Returns "median (minimum to maximum)" of how many times faster `fast` is, round by round."""
    ratios = [a / b for a, b in zip(seconds[slow], seconds[fast])]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def milliseconds(seconds: Sequence[float]) -> str:
    """Returns "median (minimum to maximum)" in milliseconds."""
    low, median, high = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{median:.1f} ({low:.1f} to {high:.1f})"


def multiply(dtype: str, device: str = "cpu") -> None:
    """Runs as the contender that multiplies square matrices, in torch."""
    import torch

    options = {"dtype": getattr(torch, dtype), "device": device}
    a, b = (torch.randn(_GEMM_SIDE, _GEMM_SIDE, **options) for _ in range(2))

    def step():
        for _ in range(_GEMM_REPEATS):
            c = a @ b
        return c[0, 0].item()  # waits for a GPU

    take_turns(step)


def table(
    seconds: Mapping[str, Sequence[float]],
    batch_size: int,
    operations: float,
    base: str,
    memory: Mapping[str, int] | None = None,
) -> str:
    """Returns a table of a contest, in Markdown.

    Args:
        seconds: of a call of each contender in each round; those of GEMMS too.
        batch_size: images of a call.
        operations: of a call, two for each multiplication.
        base: the contender whose speed is 1; left out where it did not run.
        memory: bytes of each contender, for a last column.
    """
    heading = [f"batch {batch_size}", "ms", "images/s", f"times {base}'s speed", "of the matrix product's rate"]
    rows = [heading + ["memory"] * (memory is not None)]
    rows.append(["---"] * len(rows[0]))
    for name, values in seconds.items():
        if name.startswith(GEMM):
            cells = [name, "", "", "", f"{gemm_rate(values) / 1e9:.0f} GFLOP/s"]
        else:
            median = statistics.median(values)
            gemm = GEMMS["bfloat16" if name.endswith(HALF) else "float32"]
            share = operations / median / gemm_rate(seconds[gemm])
            times = ratio(seconds, base, name) if base in seconds else ""
            cells = [name, milliseconds(values), f"{batch_size / median:.1f}", times, f"{share:.0%}"]
        if memory is not None:
            cells.append(f"{memory[name] / 1e9:.2f} GB" if name in memory else "")
        rows.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def gemm_rate(seconds: Sequence[float]) -> float:
    """Returns the operations per second, two for each multiplication, of the contender that multiplies matrices."""
    return 2 * _GEMM_REPEATS * _GEMM_SIDE**3 / statistics.median(seconds)


def processor() -> str:
    """Returns the name of the processor in /proc/cpuinfo and the number of cores."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} cores"


def _say(what) -> None:
    print(_MARK + json.dumps(what), flush=True)


def _answer(name: str, process: subprocess.Popen):
    for line in process.stdout:
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    raise RuntimeError(f"contender {name!r} ended with status {process.wait()}")
