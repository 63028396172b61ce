"""Compares contenders in turns, each in its own process, so that fluctuations of the machine's speed affect all alike.

A benchmark starts itself as each contender, `python -m PROGRAM --contender=NAME`, and then calls `take_turns`.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

HALF = ", bfloat16"  # suffix of contenders that compute in half precision
GEMM = "GEMM "  # prefix of contenders that measure the throughput of matrix products as a reference
GEMMS = {dtype: GEMM + dtype for dtype in ("float32", "bfloat16")}
_GEMM_SIDE, _GEMM_REPEATS = 2048, 10
_MARK = "contender: "


def take_turns(step: Callable[[], object], calls: int = 1, warm_up: int = 2, **facts) -> None:
    """Runs a contender: each turn is one call of `step` that is not measured, then `calls` that are.

    Args:
        step: the work to measure; it returns when the work is finished.
        calls: measured calls per turn.
        warm_up: calls before the first turn, for compilation and allocation.
        **facts: further results for `contest` to return, JSON-serializable.
    """
    for _ in range(warm_up):
        step()
    _send(facts)
    for _ in sys.stdin:
        step()  # loads this contender's data into the caches again
        start = time.perf_counter()
        for _ in range(calls):
            step()
        _send((time.perf_counter() - start) / calls)


def contest(
    module: str, contenders: Mapping[str, Mapping[str, str]], rounds: int, flags: Sequence[str] = ()
) -> tuple[dict[str, list[float]], dict[str, dict]]:
    """Measures contenders in turns.

    Args:
        module: program that runs as a contender with --contender.
        contenders: {name: environment variables of its process}.
        rounds: turns per contender.
        flags: further flags of the program.

    Returns:
        {name: seconds per call in each round}, and {name: facts}.

    Raises:
        RuntimeError: a contender exited early.
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
            facts[name] = _receive(name, processes[name])  # waits, so that each warms up alone
        for _ in range(rounds):
            for name, process in processes.items():
                process.stdin.write("go\n")
                process.stdin.flush()
                seconds[name].append(_receive(name, process))
        return seconds, facts
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def ratio(seconds: Mapping[str, Sequence[float]], slow: str, fast: str) -> str:
    """Returns the speed of `fast` relative to `slow`, "median (minimum to maximum)" of the ratios per round."""
    ratios = [a / b for a, b in zip(seconds[slow], seconds[fast])]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def milliseconds(seconds: Sequence[float]) -> str:
    """Returns "median (minimum to maximum)" in milliseconds."""
    low, median, high = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{median:.1f} ({low:.1f} to {high:.1f})"


def multiply(dtype: str, device: str = "cpu") -> None:
    """Runs as the contender that multiplies square matrices in torch."""
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
    """Returns the results of a contest as a Markdown table.

    Args:
        seconds: {name: seconds per call in each round}, including those of GEMMS.
        batch_size: images per call.
        operations: floating-point operations per call, two per multiplication.
        base: the contender that speeds are relative to; without its results the cells are empty.
        memory: {name: bytes}, for a last column.
    """
    heading = [f"batch {batch_size}", "ms", "images/s", f"speed relative to {base}", "fraction of GEMM rate"]
    rows = [heading + ["memory"] * (memory is not None)]
    rows.append(["---"] * len(rows[0]))
    for name, values in seconds.items():
        if name.startswith(GEMM):
            cells = [name, "", "", "", f"{gemm_rate(values) / 1e9:.0f} GFLOP/s"]
        else:
            median = statistics.median(values)
            gemm = GEMMS["bfloat16" if name.endswith(HALF) else "float32"]
            fraction = operations / median / gemm_rate(seconds[gemm])
            speed = ratio(seconds, base, name) if base in seconds else ""
            cells = [name, milliseconds(values), f"{batch_size / median:.1f}", speed, f"{fraction:.0%}"]
        if memory is not None:
            cells.append(f"{memory[name] / 1e9:.2f} GB" if name in memory else "")
        rows.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def gemm_rate(seconds: Sequence[float]) -> float:
    """Returns the floating-point operations per second of a contender that multiplies matrices."""
    return 2 * _GEMM_REPEATS * _GEMM_SIDE**3 / statistics.median(seconds)


def processor() -> str:
    """Returns the name of the processor, from /proc/cpuinfo, and the number of cores."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} cores"


def _send(message) -> None:
    print(_MARK + json.dumps(message), flush=True)


def _receive(name: str, process: subprocess.Popen):
    for line in process.stdout:
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    raise RuntimeError(f"contender {name!r} exited with status {process.wait()}")
