"""The work of a job on a Ray cluster, by Ray Data: some actors read images, others hold the network.

Ray schedules both, keeps them at the same pace, and repeats what was lost with a machine. A repeated batch has the same
number, so that it replaces the lost one.
"""

import contextlib
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np
import pyarrow as pa
import ray

from bit_keras.bulk.images import Image
from bit_keras.bulk.model import Files, Settings, unpacked
from bit_keras.bulk.parts import Part, table
from bit_keras.inference.ahead import Prepared, prepared
from bit_keras.inference.inputs import Input
from bit_keras.system.logs import doing, logger
from bit_keras.system.texts import counted

_PATIENCE = 10  # seconds for a connection to a cluster
_BLOCK = 2**25  # bytes of decoded images that wait together; Ray's 128 MiB would delay the first batch
# glibc keeps the memory of batches for the next ones; else the system would take it back and clear it for each batch.
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}


class Workers(NamedTuple):
    """The actors of a job.

    Attributes:
        count: their number.
        readers: number of the actors that read images for them.
        cpus, gpus: logical CPUs and GPUs of each. CPUs are also its threads.
        batch_size: images per batch.
    """

    count: int
    readers: int
    cpus: float
    gpus: float
    batch_size: int


class Batch(NamedTuple):
    """The rows of some images.

    Attributes:
        part, number: the index of its part in the job, and its own in the part.
        rows: as `parts.table` returns them.
        errors: number of images that cannot be read.
        size: of the image files, in bytes.
        decoding, computing: seconds that reading and decoding took, in all threads together, and the network.
    """

    part: int
    number: int
    rows: pa.Table
    errors: int
    size: int
    decoding: float
    computing: float


@contextlib.contextmanager
def connected(address: str | None, threads: int) -> Iterator[None]:
    """Connects to a Ray cluster for the block, or starts one on this machine.

    Args:
        address: "auto" or "host:port", as `--address` of Ray; None for RAY_ADDRESS, or for this machine.
        threads: of a network in an actor.

    Raises:
        ConnectionError: the cluster cannot be reached.
        ValueError: the address is that of a Ray client.
    """
    _check_reachable(address)
    variables = {name: str(threads) for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")}
    variables |= {"KERAS_BACKEND": keras.backend.backend(), "TF_CPP_MIN_LOG_LEVEL": "2"} | KEPT_MEMORY
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else Ray's C++ library prints to standard error
    options = {} if address or os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    try:
        with doing(f"connecting to {address}" if address else "starting Ray"):
            ray.init(
                address=address,
                runtime_env={"env_vars": variables},
                log_to_driver=False,
                logging_level=logging.ERROR,
                **options,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConnectionError(f"address: no Ray cluster at {address or 'this machine'}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raises ConnectionError if nothing listens at the address of a cluster: Ray itself would try for minutes.

    Raises ValueError if it is the address of a Ray client, through which Ray Data cannot run.
    """
    if (address or os.environ.get("RAY_ADDRESS", "")).startswith("ray://"):
        raise ValueError(
            "address: a job cannot run through a Ray client; start it on a machine of the cluster with --address=auto, "
            f"or by `ray job submit -- bit-bulk ...`; got {address or os.environ['RAY_ADDRESS']}"
        )
    if match := re.fullmatch(r"([^/]+):(\d+)", address or ""):
        try:
            socket.create_connection((match[1], int(match[2])), _PATIENCE).close()
        except OSError as error:
            raise ConnectionError(f"address: no Ray cluster at {address}: {error.strerror or error}") from error


def choose_workers(count: int | None, readers: int | None, cpus: float, gpus: float | None, batch_size: int) -> Workers:
    """Returns the workers of a job on the connected cluster.

    Args:
        count: None for one per GPU, or half as many as the CPUs allow, since images are decoded by the others.
        readers: None for one per CPU that the workers leave.
        cpus, batch_size: as in `Workers`.
        gpus: None for 1 if the cluster has GPUs.

    Raises:
        ValueError: the cluster is too small.
    """
    there = ray.cluster_resources()
    if gpus is None:
        gpus = 1.0 if there.get("GPU") else 0.0
    most = int(there.get("GPU", 0) / gpus if gpus else there.get("CPU", 0) / cpus)
    count = count or max(1, most if gpus else most // 2)
    if count > most:
        raise ValueError(
            f"workers: the cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs, too few for "
            f"{count} workers of {cpus:g} CPUs and {gpus:g} GPUs"
        )
    readers = readers or max(1, int(there.get("CPU", 0) - count * cpus))
    return Workers(count, readers, cpus, gpus, batch_size)


def batches(parts: Mapping[int, Part], files: Files, settings: Settings, workers: Workers) -> Iterator[Batch]:
    """Yields the batches of parts as they are finished, in any order.

    Args:
        parts: the parts to compute, by their indices in the job.
        files: the model.
        settings, workers: of the job.

    Raises:
        RuntimeError: a worker failed, other than by the loss of its machine.
    """
    images = sum(len(part.images) for part in parts.values())
    logger.info("%s by %s", counted(images, "image"), counted(workers.count, "worker"))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = [{"part": number, "images": json.dumps(part.images)} for number, part in parts.items()]
    model = ray.put(files)  # travels to each machine once
    read = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(
        _Reader,
        fn_constructor_args=(settings, workers.batch_size),
        concurrency=workers.readers,
        num_cpus=0,  # else workers that move here from a lost machine could take the CPUs that reading needs
    )
    computed = read.map(
        _Network,
        fn_constructor_args=(model, settings, workers.batch_size),
        concurrency=workers.count,
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
    try:
        for row in computed.iter_rows():
            row["rows"] = pa.ipc.open_stream(row["rows"]).read_all()
            yield Batch(**row)
    except ray.exceptions.RayError as error:
        logger.debug("a worker failed", exc_info=True)
        raise RuntimeError(f"a worker failed: {str(error).strip().splitlines()[-1]}") from error


class _Reader:
    """An actor: turns parts into decoded batches.

    A task would import TensorFlow anew in each process that Ray chooses for it.
    """

    def __init__(self, settings: Settings, batch_size: int):
        self._read, self._batch_size = settings.reader(), batch_size
        self._none = np.empty((0, settings.resolution, settings.resolution, 3), np.float32)

    def __call__(self, item: dict) -> Iterator[dict]:
        inputs = (Image(*image).to_input() for image in json.loads(item["images"]))
        for number, batch in enumerate(prepared(inputs, self._timed, self._batch_size)):
            readable = [each.value for each in batch if each.error is None]
            yield {
                "part": item["part"],
                "number": number,
                "pixels": np.stack([pixels for pixels, _, _ in readable]) if readable else self._none,
                "names": json.dumps([each.name for each in batch]),
                "errors": json.dumps([each.error for each in batch]),
                "size": sum(size for _, size, _ in readable),
                "decoding": sum(seconds for _, _, seconds in readable),
            }

    def _timed(self, each: Input) -> tuple[np.ndarray, int, float]:
        began = time.perf_counter()
        content = each.read()
        pixels = self._read(Input(each.name, lambda: content))
        return pixels, len(content), time.perf_counter() - began


class _Network:
    """An actor: holds the network, and turns decoded batches into rows."""

    def __init__(self, model: ray.ObjectRef, settings: Settings, batch_size: int):
        self._what = settings.what
        self._predictor = settings.predictor(unpacked(ray.get(model)), batch_size)
        # Compiles, and fixes the size of batches: the numbers of an image are the same at every start.
        self._predictor.logits(np.zeros((batch_size, settings.resolution, settings.resolution, 3), np.float32))

    def __call__(self, item: dict) -> dict:
        began = time.perf_counter()
        pixels = iter(item["pixels"])
        errors = json.loads(item["errors"])
        batch = [
            Prepared(name, next(pixels) if error is None else None, error)
            for name, error in zip(json.loads(item["names"]), errors, strict=True)
        ]
        predictions = list(self._predictor.predict(batch))
        return {
            "part": item["part"],
            "number": item["number"],
            "rows": _to_bytes(table(predictions, self._what)),
            "errors": sum(row.error is not None for row in predictions),
            "size": item["size"],
            "decoding": item["decoding"],
            "computing": time.perf_counter() - began,
        }


def _to_bytes(rows: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_table(rows)
    return stream.getvalue().to_pybytes()
