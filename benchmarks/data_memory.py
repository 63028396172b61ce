"""Program: memory of the input pipeline for folders of increasing size, each measured in its own process.

Example:
    python -m benchmarks.data_memory --images=1000,10000,100000
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from benchmarks import frame

_IMAGES = flags.DEFINE_list("images", ["1000", "10000", "100000"], "Numbers of images in the folders.")
_READ = flags.DEFINE_string("read", None, "Read this folder and print its memory as JSON; for the program itself.")

CLASSES, SIZE, BATCH, RESIZE, CROP = 10, (120, 160), 128, 160, 128


def write_images(folder: Path, count: int) -> None:
    """Writes a folder of class folders with `count` JPEG files, all different."""
    height, width = SIZE
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        blocks = random.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
        image = Image.fromarray(blocks).resize((width, height), Image.Resampling.BILINEAR)
        image.save(folder / str(number % CLASSES) / f"{number:06}.jpg")


def read(folder: str) -> dict[str, int]:
    """Opens a folder and reads its training and test batches once; returns the peak memory in bytes at each stage."""
    from bit_keras import data

    before = _peak()
    source = data.load(folder)
    opened = _peak()
    train = data.train_batches(source, batch_size=BATCH, resize=RESIZE, crop=CROP, seed=0)
    for _ in zip(range(-(-source.num_train // BATCH)), train):
        pass
    for _ in data.test_batches(source, batch_size=BATCH, crop=CROP):
        pass
    return {"images": source.num_train + source.num_test, "before": before, "opened": opened, "read": _peak()}


def _peak() -> int:
    """Returns the peak memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(folder: Path) -> dict[str, int]:
    """Runs `read` in its own process."""
    command = [sys.executable, "-m", "benchmarks.data_memory", f"--read={folder}"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    result = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    if _READ.value:
        print(json.dumps(read(_READ.value)))
        return
    from bit_keras.system.command_line import integers

    counts = integers("images", _IMAGES.value)
    print(f"{SIZE[1]}x{SIZE[0]} JPEG, batches of {BATCH} at {CROP} pixels; peak memory in MB")
    print(f"{'images':>8} {'libraries':>10} {'opened':>8} {'one pass':>9}")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_images(Path(folder), count)
            result = measure(Path(folder))
        before, opened, passed = (result[name] / 1e6 for name in ("before", "opened", "read"))
        print(f"{result['images']:>8,} {before:>10,.0f} {opened:>8,.0f} {passed:>9,.0f}", flush=True)


if __name__ == "__main__":
    frame.run(main, "read")
