"""Forks of one process that work together, some of which are killed."""

import os
import random
import signal
import time
import traceback
from collections.abc import Callable


def run(work: Callable[[], None], workers: int, kills: int, pause: float) -> tuple[list[int], int]:
    """Runs workers at the same time, and starts another one for each that was killed.

    Args:
        work: what each does.
        workers: their number.
        kills: number of times that one of them is killed.
        pause: most seconds between two kills.

    Returns:
        The process ids of those that have ended by themselves, and how many were killed.
    """
    clock, running, ended, killed = random.Random(0), [_start(work) for _ in range(workers)], [], 0
    for _ in range(kills):
        time.sleep(clock.uniform(0, pause))
        victim = running.pop(clock.randrange(len(running)))
        os.kill(victim, signal.SIGKILL)
        if _status(victim) == -signal.SIGKILL:
            killed += 1
        else:
            ended.append(victim)
        running.append(_start(work))
    faults = [status for child in running if (status := _status(child))]
    if faults:
        raise RuntimeError(f"workers failed with {faults}")
    return ended + running, killed


def _start(work: Callable[[], None]) -> int:
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def _status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
