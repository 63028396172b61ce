"""Runs of a series, the cells of its table, which any number of processes with a common folder take one by one."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bit_keras.runs.series import known_results, recorded
from bit_keras.system import leases
from bit_keras.system.logs import doing, logger
from bit_keras.system.texts import counted


@dataclasses.dataclass(frozen=True)
class Cell:
    """A run whose results are recorded once.

    Attributes:
        record: JSON file of the results, in a folder of the run's own.
        identity: everything that affects the results, JSON-able.
    """

    record: Path
    identity: dict

    @property
    def name(self) -> str:
        return self.record.parent.name


# Opens what its cells have in common, such as their data, and returns each with the function that measures it.
Group = Callable[[], Iterable[tuple[Cell, Callable[[], dict]]]]


def complete(
    groups: Sequence[Group],
    done: Callable[[Cell, dict], None],
    failed: Callable[[Cell, Exception], None] | None = None,
    faults: tuple[type[Exception], ...] = (),
    together: bool = False,
) -> list[dict]:
    """Returns the results of all cells, recorded by any process, or measured now where no other process is at it.

    A process that has nothing left to measure waits for the others. If one dies, another takes over its cell.

    Args:
        groups: of cells; a group may be opened several times, so that no more than one is in memory.
        done: is called with each cell and its results.
        failed: is called with a cell and why it could not be measured; other processes try it as well.
        faults: types of these errors; others end the call.
        together: True if all processes measure each cell together, as workers of one training.

    Returns:
        The results of each cell, in the order of the groups, without those that failed.
    """
    worker = _Worker(done, failed, faults, None if together else leases.Watch())
    held = {group: worker.visit(group) for group in groups}
    while group := worker.wait(held):
        held[group] = worker.visit(group)
    return [results for results in worker.results.values() if results is not None]


@dataclasses.dataclass
class _Worker:
    """What one process knows of the cells; see `complete`.

    Attributes:
        watch: of the leases; None to take every cell.
        results: {record: results, or None while there are none}.
    """

    done: Callable[[Cell, dict], None]
    failed: Callable[[Cell, Exception], None] | None
    faults: tuple[type[Exception], ...]
    watch: leases.Watch | None
    results: dict[Path, dict | None] = dataclasses.field(default_factory=dict)
    _settled: set[Path] = dataclasses.field(default_factory=set)

    def visit(self, group: Group) -> list[Cell]:
        """Completes the cells of a group, except for those that other processes hold, which are returned."""
        held = []
        for cell, measure in group():
            self.results.setdefault(cell.record)
            if cell.record in self._settled:
                continue
            try:
                results = self._attempt(cell, measure)
            except self.faults as error:
                self._settled.add(cell.record)
                self.failed(cell, error)
            else:
                if not self._settle(cell, results):
                    held.append(cell)
        return held

    def wait(self, held: Mapping[Group, list[Cell]]) -> Group | None:
        """Waits until a cell is free that others held, and returns its group; None when others have completed all."""
        with doing(lambda: self._describe(held)):
            while any(held.values()):
                for group, cells in held.items():
                    cells[:] = [cell for cell in cells if not self._settle(cell, _known(cell))]
                    if any(self.watch.is_free(cell.record.parent) for cell in cells):
                        return group
                time.sleep(leases.BEAT if any(held.values()) else 0)
        return None

    def _attempt(self, cell: Cell, measure: Callable[[], dict]) -> dict | None:
        """Returns the results of a cell, None while another process holds it."""
        if self.watch is None:
            return recorded(cell.record, cell.identity, measure)
        if (results := _known(cell)) is not None:
            return results
        lease = self.watch.take(cell.record.parent)
        if lease is None:
            return None
        try:
            results = recorded(cell.record, cell.identity, measure)  # asks for the record again, now under the lease
        except BlockingIOError as error:  # a process that seemed to be dead is not: tried again as if this one were
            logger.warning("%s: %s", cell.name, error)
            lease.abandon()
        except BaseException:
            lease.release()
            raise
        else:
            lease.remove()
        return results

    def _settle(self, cell: Cell, results: dict | None) -> bool:
        """Takes note of results, if there are any, and tells it."""
        if results is not None:
            self.results[cell.record] = results
            self._settled.add(cell.record)
            self.done(cell, results)
        return results is not None

    def _describe(self, held: Mapping[Group, list[Cell]]) -> str:
        cells = [cell for cells in held.values() for cell in cells]
        if not cells:
            return ""
        text = ", ".join(f"{cell.name} of {self.watch.holder(cell.record.parent)}" for cell in cells[:3])
        return (
            f"waiting for {counted(len(cells), 'run')} of other processes, of which those of dead ones are taken over "
            f"after {leases.PATIENCE:.0f} s: {text}{', ...' * (len(cells) > 3)}"
        )


def _known(cell: Cell) -> dict | None:
    return known_results(cell.record, cell.identity)
