"""A job from its settings to its files: all that can be refused is refused before workers start."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from bit_keras.bulk import on_ray
from bit_keras.bulk.images import find_images
from bit_keras.bulk.model import choose_settings, packed
from bit_keras.bulk.parts import Output, Part, digest, divided, identity
from bit_keras.bulk.places import place_of
from bit_keras.checkpoints.provenance import fingerprint
from bit_keras.system.logs import OUTCOME, doing, logger
from bit_keras.system.progress_bar import image_bar
from bit_keras.system.texts import counted


@dataclasses.dataclass
class Counters:
    """What a job did.

    Attributes:
        images: rows that it wrote.
        errors: those of images that cannot be read.
        already: rows that existed when it started.
        size: of the image files that it read, in bytes.
        decoding: seconds of reading and decoding, in all threads together.
        computing: seconds of the network, in all workers together.
    """

    images: int = 0
    errors: int = 0
    already: int = 0
    size: int = 0
    decoding: float = 0.0
    computing: float = 0.0

    def add(self, batch: on_ray.Batch) -> None:
        self.images += len(batch.rows)
        self.errors += batch.errors
        self.size += batch.size
        self.decoding += batch.decoding
        self.computing += batch.computing

    def __str__(self) -> str:
        return (
            f"{counted(self.images, 'image')}, {counted(self.errors, 'error')}, {self.size:,} bytes, "
            f"{self.decoding:.1f} s in decoding, {self.computing:.1f} s in the model"
        )


def run(
    model: str | os.PathLike,
    inputs: Sequence[str],
    output: str | os.PathLike,
    *,
    address: str | None = None,
    file_format: str = "parquet",
    part_size: int = 1024,
    batch_size: int = 32,
    workers: int | None = None,
    readers: int | None = None,
    cpus: float = 1,
    gpus: float | None = None,
    **settings,
) -> Counters:
    """Writes the rows of all images to a folder; a part of them that is there already is not computed again.

    Args:
        model: as in `choose_settings`.
        inputs: as in `find_images`.
        output: a local folder or an address, as in `place_of`; new, empty, or that of the same job.
        address: as in `on_ray.connected`.
        file_format: one of `parts.FORMATS`.
        part_size: images per file.
        batch_size, cpus, gpus: as in `on_ray.Workers`.
        workers, readers: number of them; None as in `on_ray.choose_workers`.
        **settings: what, top, class_names, resolution, precision and loader, as in `choose_settings`.

    Raises:
        ValueError, OSError, ImportError, bit_keras.checkpoints.CheckpointError: a setting, the model, the images or the
            output do not fit; nothing was computed.
        RuntimeError: a worker failed.
    """
    path, settings = choose_settings(model, **settings)
    with doing("listing the images"):
        images = find_images(inputs)
    of_images = {"images": len(images), "digest": digest(images), "part_size": part_size}
    named = identity(settings, model=fingerprint(path), format=file_format, **of_images)
    results = Output(place_of(output), named, file_format)
    parts = dict(enumerate(divided(images, part_size)))
    missing = {number: part for number, part in parts.items() if not results.has(part)}
    counters = Counters(already=len(images) - sum(len(part.images) for part in missing.values()))
    if counters.already:
        logger.info("%s already in %s", counted(counters.already, "row"), results.address)
    if missing:
        with results.in_use(), on_ray.connected(address, threads=max(1, round(cpus))):
            team = on_ray.choose_workers(workers, readers, cpus, gpus, batch_size)
            _compute(missing, results, counters, on_ray.batches(missing, packed(path), settings, team))
    logger.log(OUTCOME, "%s", counters)
    logger.log(OUTCOME, "rows in %s", results.address)
    return counters


def _compute(missing: Mapping[int, Part], results: Output, counters: Counters, batches: Iterable[on_ray.Batch]) -> None:
    """Writes each part as soon as all its batches have arrived."""
    total = sum(len(part.images) for part in missing.values())
    arrived: dict[int, dict[int, pa.Table]] = {number: {} for number in missing}
    bar = image_bar(transient=True)
    task = bar.add_task("loading the model", total=total)

    def state() -> str:
        if bar.disable:
            return f"{counters.images:,} of {total:,} images" if counters.images else "workers load the model"
        return ""

    with doing(state), bar:
        for batch in batches:
            part, rows = missing[batch.part], arrived[batch.part]
            rows[batch.number] = batch.rows
            counters.add(batch)
            bar.update(task, description="images", advance=len(batch.rows))
            if sum(map(len, rows.values())) == len(part.images):
                results.write(part, pa.concat_tables(rows[number] for number in sorted(rows)))
                del arrived[batch.part]
    if arrived:
        raise RuntimeError(f"{counted(len(arrived), 'part')} of the output did not arrive; start again to compute them")
