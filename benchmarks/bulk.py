"""Program: images per second of a job of `bit-bulk`, compared with those of its network alone, and memory of jobs.

The network runs in batches of one array in memory, in one thread. A job has one or two workers of one thread each, and
reads JPEG files; its speed is that between its first and its last file of results, without the start of its processes.
All have the settings of a job for freed memory.
CPU time, of the processes that hold the network and of those that read, hardly depends on what else the machine does.
Memory is the peak of the program and of its largest worker, for `--few` and `--many` images of 32 pixels.

Example:
    python -m benchmarks.bulk --images=2000 --rounds=3
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from absl import flags

from benchmarks import contest, frame

_CONTENDER = flags.DEFINE_enum("contender", None, ("model", "job"), "Run as this contender; for the program itself.")
_FOLDER = flags.DEFINE_string("folder", None, "Folder with photos/; for the program itself.")
_WORKERS = flags.DEFINE_integer("workers", 1, "Workers of a job; for the program itself.")
_VARIANT = flags.DEFINE_string("variant", "R17x0.5", "Row of bit_keras.zoo.variants.")
_IMAGES = flags.DEFINE_integer("images", 1000, "Images per job.", lower_bound=2)
_SIDE = flags.DEFINE_integer("side", 224, "Side of the images in pixels.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns per contender.", lower_bound=1)
_FEW = flags.DEFINE_integer("few", 1000, "Images of the smaller job whose memory is measured; 0 for none.")
_MANY = flags.DEFINE_integer("many", 50_000, "Images of the larger one.")
_BATCH = 32
_PART = 4 * _BATCH
_PROCESSES = {"network": "_Network", "reading": "_Reader"}  # in the names that Ray gives to processes
_THREADS = {name: "1" for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")}


def run_model() -> dict:
    """Returns the speed of the network alone."""
    import numpy as np

    from bit_keras.inference.predictor import Predictor

    predictor = Predictor(Path(_FOLDER.value, "weights.npz"), resolution=_SIDE.value, batch_size=_BATCH)
    images = np.random.default_rng(0).uniform(-1, 1, (_BATCH, _SIDE.value, _SIDE.value, 3)).astype("float32")
    predictor.logits(images)
    batches = max(2, _IMAGES.value // _BATCH // 2)
    began, before = time.perf_counter(), time.process_time()
    for _ in range(batches):
        predictor.logits(images)
    seconds = time.perf_counter() - began
    return {"speed": batches * _BATCH / seconds, "network": (time.process_time() - before) / (batches * _BATCH)}


def run_job() -> dict:
    """Returns the speed of a job, the CPU seconds per image of its processes, and its peak memory in bytes."""
    import resource

    from bit_keras.bulk import job

    folder, watch = Path(_FOLDER.value), _Watch()
    watch.start()
    with tempfile.TemporaryDirectory(dir=folder) as output:
        settings = {"what": "predictions", "top": 5, "class_names": None, "precision": "float32", "loader": None}
        sizes = {"resolution": _SIDE.value, "part_size": _PART, "batch_size": _BATCH, "workers": _WORKERS.value}
        job.run(folder / "weights.npz", [str(folder / "photos")], output, **settings, **sizes)
        times = sorted(path.stat().st_mtime for path in Path(output).glob("part-*"))
    watch.done.set()
    watch.join()
    images = _IMAGES.value - _PART
    cpu = {name: watch.seconds(part, times[0], times[-1]) / images for name, part in _PROCESSES.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"speed": images / (times[-1] - times[0]), **cpu, "program": peak, "worker": max(watch.peaks.values())}


class _Watch(threading.Thread):
    """Watches the processes of Ray that work for a job.

    Attributes:
        done: is set when the job has ended.
        peaks: {process: peak memory in bytes}.
    """

    def __init__(self):
        super().__init__()
        self.done, self.peaks = threading.Event(), {}
        self._samples: list[tuple[float, str, int, float]] = []  # time, name of a process, its number, CPU seconds

    def run(self) -> None:
        while not self.done.wait(0.5):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    self._sample(folder)
                except (OSError, StopIteration):  # it has ended
                    continue

    def _sample(self, folder: Path) -> None:
        name = (folder / "cmdline").read_bytes().decode()
        if not name.startswith("ray::"):
            return
        line = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
        self.peaks[int(folder.name)] = int(line.split()[1]) * 1024
        user, system = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        seconds = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        self._samples.append((time.time(), name, int(folder.name), seconds))

    def seconds(self, name: str, begin: float, end: float) -> float:
        """Returns the CPU seconds of the processes with a name between two times."""
        found: dict[int, list[float]] = {}
        for now, of_process, process, seconds in self._samples:
            if name in of_process and begin <= now <= end:
                found.setdefault(process, []).append(seconds)
        return sum(values[-1] - values[0] for values in found.values())


def _write_inputs(folder: Path, images: int, side: int) -> None:
    """Writes weights, and JPEG files: links to few different ones."""
    import numpy as np
    from PIL import Image

    from bit_keras import BiT, save_npz

    save_npz(BiT(_VARIANT.value, num_classes=1000), folder / "weights.npz")
    random, size = np.random.default_rng(0), (side * 5 // 4, side * 3 // 2)
    for number in range(images):
        path = folder / "photos" / f"{number // 1000:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < 20:
            small = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
            small.resize(size[::-1], Image.Resampling.BICUBIC).save(path, quality=90)
        else:
            os.link(folder / "photos" / "0000" / f"{number % 20:07}.jpg", path)


def _measured(folder: Path, contender: str, images: int, side: int, workers: int = 1) -> dict:
    """Returns what a contender prints, in a process of its own."""
    from bit_keras.bulk import on_ray

    settings = {"folder": folder, "images": images, "side": side, "workers": workers}
    command = [sys.executable, "-m", "benchmarks.bulk", f"--contender={contender}"]
    command += [f"--{name}={value}" for name, value in settings.items()]
    # Ray gives way to other processes of the machine, unlike the network alone.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "RAY_worker_niceness": "0"}
    if contender == "model":
        environment |= _THREADS | on_ray.KEPT_MEMORY
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    line = done.stdout.splitlines()[-1]
    print(f"{contender}, {images} images, {workers} workers: {line}", file=sys.stderr)
    return json.loads(line)


def _compare_speeds() -> None:
    contenders = {"the network alone": [], "a job with 1 worker": [], "a job with 2 workers": []}
    with tempfile.TemporaryDirectory() as folder:
        _write_inputs(Path(folder), _IMAGES.value, _SIDE.value)
        for _ in range(_ROUNDS.value):
            for workers, found in enumerate(contenders.values()):
                contender = "job" if workers else "model"
                found.append(_measured(Path(folder), contender, _IMAGES.value, _SIDE.value, max(1, workers)))
    print("| | images/s | relative to the network alone | CPU ms per image: network | reading |\n|---|---|---|---|---|")
    alone, *_ = contenders.values()
    for name, found in contenders.items():
        ratios = [each["speed"] / base["speed"] for each, base in zip(found, alone)]
        network, reading = (_spread([1000 * each.get(name, 0) for each in found], ".1f") for name in _PROCESSES)
        speeds = _spread([each["speed"] for each in found], ".0f")
        print(f"| {name} | {speeds} | {_spread(ratios, '.2f')} | {network} | {reading} |")


def _compare_memory() -> None:
    print("\n| images of 32 pixels | program | largest worker |\n|---|---|---|")
    for images in (_FEW.value, _MANY.value):
        with tempfile.TemporaryDirectory() as folder:
            _write_inputs(Path(folder), images, 32)
            measured = _measured(Path(folder), "job", images, 32)
        print(f"| {images:,} | {measured['program'] / 1e9:.2f} GB | {measured['worker'] / 1e9:.2f} GB |")


def _spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    if _CONTENDER.value:
        print(json.dumps(run_model() if _CONTENDER.value == "model" else run_job()))
        return
    print(f"{contest.processor()}; {_VARIANT.value}, {_SIDE.value} pixels, batches of {_BATCH}, one thread each\n")
    _compare_speeds()
    if _FEW.value:
        _compare_memory()


if __name__ == "__main__":
    frame.run(main, "contender")
