"""Summary of an export, as a table and as JSON, with one row per artefact."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bit_keras.system.files import write_json

BATCH_SIZES = (1, 8)


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A file or directory that was exported.

    Attributes:
        name: kind of artefact, for example "serving, float32".
        path: of the file or directory.
        max_difference: largest difference of its outputs from the Keras model's, relative to their scale.
        images_per_second: {batch size: median on this machine}; comparable only within a run.
        extra: {heading: value} of further columns of the table, for example {"test accuracy": 0.91}.

    Example:
        >>> artefact.name, artefact.max_difference < 1e-4, artefact.num_bytes > 1e6  # of `export_serving`
        ('serving, float32', True, True)
    """

    name: str
    path: Path
    max_difference: float
    images_per_second: dict[int, float]
    extra: dict[str, float | str] = dataclasses.field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Size of the file, or of all files in the directory."""
        files = [self.path] if self.path.is_file() else [p for p in self.path.rglob("*") if p.is_file()]
        return sum(file.stat().st_size for file in files)


def measure(
    run: Callable[[np.ndarray], object], size: int = 224, runs: int = 5, batch_sizes: Sequence[int] = BATCH_SIZES
) -> dict[int, float]:
    """Returns {batch size: median images per second} of a function of images [N, size, size, 3] in [0, 1]."""
    rates = {}
    for batch_size in batch_sizes:
        images = np.random.default_rng(0).uniform(size=(batch_size, size, size, 3)).astype("float32")
        run(images)  # traces the function and allocates memory
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            run(images)
            seconds.append(time.perf_counter() - start)
        rates[batch_size] = batch_size / statistics.median(seconds)
    return rates


def table(artefacts: Sequence[Artefact]) -> str:
    """Returns one row per artefact as text with aligned columns."""
    extras = list(dict.fromkeys(key for artefact in artefacts for key in artefact.extra))
    sizes = [size for size in BATCH_SIZES if any(size in artefact.images_per_second for artefact in artefacts)]
    rates = [f"img/s, batch {size}" for size in sizes]
    rows = [["artefact", "bytes", "max difference", *rates, *extras]]
    for artefact in artefacts:
        speeds = [f"{artefact.images_per_second[size]:.1f}" for size in sizes]
        others = [artefact.extra.get(key, "-") for key in extras]
        others = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in others]
        rows.append([artefact.name, f"{artefact.num_bytes:,}", f"{artefact.max_difference:.1e}", *speeds, *others])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def write_summary(artefacts: Sequence[Artefact], path: Path) -> None:
    """Writes one record per artefact as JSON."""
    rows = [{**dataclasses.asdict(a), "path": str(a.path), "bytes": a.num_bytes} for a in artefacts]
    write_json(path, {"artefacts": rows})
