"""Compares contenders in turns, each in its own process, so that fluctuations of the machine's speed affect all alike.

A benchmark starts itself as each contender, `python -m PROGRAM --contender=NAME`, and then calls `take_turns`. All
contenders run under the same setting of the C library's allocator, on which the speed of some depends more than on
their arithmetic.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from absl import flags

from benchmarks import surroundings

HALF = ", bfloat16"  # suffix of contenders that compute in half precision
GEMM = "GEMM "  # prefix of contenders that measure the throughput of matrix products as a reference
GEMMS = {dtype: GEMM + dtype for dtype in ("float32", "bfloat16")}
_GEMM_SIDE, _GEMM_REPEATS = 2048, 10
_MARK = "contender: "
_UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_NEVER = str(10**11)  # bytes; glibc returns freed memory to the system only above it

# {setting: environment variables of all contenders}. With "default" glibc returns large blocks to the system when they
# are freed, and the system clears their pages when they are needed again; with "kept memory" it does neither.
ALLOCATORS = {
    "default": {},
    "kept memory": {"MALLOC_TRIM_THRESHOLD_": _NEVER, "MALLOC_MMAP_THRESHOLD_": _NEVER},
}


def define_allocator_flag() -> flags.FlagHolder:
    """Defines --allocator, the keys of `ALLOCATORS` that a program makes tables for."""
    text = "Settings of the C library's allocator, a table for each; all by default."
    return flags.DEFINE_multi_enum("allocator", list(ALLOCATORS), list(ALLOCATORS), text)


def take_turns(step: Callable[[], object], calls: int = 1, warm_up: int = 2, **facts) -> None:
    """Runs a contender: each turn is one call of `step` that is not measured, then `calls` that are.

    Args:
        step: the work to measure; it returns when the work is finished.
        calls: measured calls per turn.
        warm_up: calls before the first turn, for compilation and allocation.
        **facts: further results for `contest` to return, JSON-serializable.
    """
    for _ in turns(calls, warm_up, **facts):
        step()


def turns(calls: int = 1, warm_up: int = 2, **facts) -> Iterator[None]:
    """Yields before each call of the work of a contender; the arguments are those of `take_turns`.

    For work that is called by others, such as the steps of a `fit`. The measurement of a turn ends when the next item
    is asked for.
    """
    for _ in range(warm_up):
        yield
    _send({"surroundings": surroundings.describe(), **facts})
    for _ in sys.stdin:
        yield  # loads this contender's data into the caches again
        start = time.perf_counter()
        for _ in range(calls):
            yield
        _send((time.perf_counter() - start) / calls)


def contest(
    module: str,
    contenders: Mapping[str, Mapping[str, str]],
    rounds: int,
    flags: Sequence[str] = (),
    allocator: Mapping[str, str] = ALLOCATORS["default"],
) -> tuple[dict[str, list[float]], dict[str, dict]]:
    """Measures contenders in turns.

    Args:
        module: program that runs as a contender with --contender.
        contenders: {name: environment variables of its process}.
        rounds: turns per contender.
        flags: further flags of the program.
        allocator: environment variables of the C library's allocator, the same for all; those of this process are not
            passed on.

    Returns:
        {name: seconds per call in each round}, and {name: facts}. The facts include "surroundings", those of
        `benchmarks.surroundings.describe`.

    Raises:
        ValueError: a contender has a setting of the allocator of its own.
        RuntimeError: a contender exited early.
    """
    for name, environment in contenders.items():
        own = [variable for variable in environment if surroundings.is_of_allocator(variable)]
        if own:
            raise ValueError(f"all contenders run under the same allocator, got {', '.join(own)} for {name!r}")
    inherited = {name: value for name, value in os.environ.items() if not surroundings.is_of_allocator(name)}
    processes = {}
    try:
        facts, seconds = {}, {name: [] for name in contenders}
        for name, environment in contenders.items():
            command = [sys.executable, "-m", module, f"--contender={name}", *flags]
            environment = {**inherited, "TF_CPP_MIN_LOG_LEVEL": "2", **environment, **allocator}
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


def on_all_allocators(
    module: str,
    contenders: Mapping[str, Mapping[str, str]],
    rounds: int,
    flags: Sequence[str],
    allocators: Sequence[str],
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Holds a contest for each setting of the allocator, and prints what the contenders ran in.

    Args:
        module, contenders, rounds, flags: as in `contest`.
        allocators: keys of `ALLOCATORS`.

    Yields:
        The setting, and {name: seconds per call in each round}; print a table of them.
    """
    for allocator in allocators:
        seconds, facts = contest(module, contenders, rounds, flags, ALLOCATORS[allocator])
        print(flush=True)
        yield allocator, seconds
        print(f"\n{surroundings.table(facts)}", flush=True)


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
    setting: str,
    batch_size: int,
    operations: float,
    base: str,
    memory: Mapping[str, int] | None = None,
) -> str:
    """Returns the results of a contest as a Markdown table.

    Args:
        seconds: {name: seconds per call in each round}, including those of GEMMS.
        setting: what the table is for, such as a key of `ALLOCATORS`.
        batch_size: images per call.
        operations: floating-point operations per call, two per multiplication.
        base: the contender that speeds are relative to; without its results the cells are empty.
        memory: {name: bytes}, for a last column.
    """
    heading = [f"batch {batch_size}, {setting}", "ms", "images/s", f"speed relative to {base}", "fraction of GEMM rate"]
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
    """Returns the name of the processor, its instructions for matrix products, and the number of cores."""
    fields = {"model name": "unknown", "flags": ""}
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        fields |= {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    units = [unit for unit in _UNITS if unit in fields["flags"].split()]
    return f"{fields['model name']}, {', '.join(units) or 'no vector units'}, {os.cpu_count()} cores"


def _send(message) -> None:
    print(_MARK + json.dumps(message), flush=True)


def _receive(name: str, process: subprocess.Popen):
    for line in process.stdout:
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    raise RuntimeError(f"contender {name!r} exited with status {process.wait()}")
