"""Program: throughput of the input pipeline, in images per second and core.

It is compared with a pipeline of tf.image operations as in the official code, and with libjpeg-turbo, which decodes
only and comes with the package `simplejpeg`.

Example:
    python -m benchmarks.input_pipeline --rounds=7
"""

import concurrent.futures
import io
import itertools
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import contest, frame

_ROUNDS = flags.DEFINE_integer("rounds", 7, "Turns per contender.", lower_bound=1)
_IMAGES = 128  # two batches
_CONTENDER = flags.DEFINE_string("contender", None, "Run as this contender; for the program itself.")
_FOLDER = flags.DEFINE_string("folder", None, "Folder of the images; for the program itself.")
_CORES = flags.DEFINE_integer("cores", 1, "Number of cores to run on; for the program itself.")

TF_IMAGE, OURS, OURS_SMALL, DECODER = "tf.image, 512 to 480", "ours, 512 to 480", "ours, 160 to 128", "libjpeg-turbo"
TF_IMAGE_TEST, OURS_TEST = "tf.image, evaluation at 480", "ours, evaluation at 480"
DECODING = ", decoding"  # suffix of ours without caching: each pass decodes, like the first pass with caching
BASES = {
    name + ending: base
    for name, base in {OURS: TF_IMAGE, OURS_TEST: TF_IMAGE_TEST}.items()
    for ending in ("", DECODING)
}
CONTENDERS = (TF_IMAGE, TF_IMAGE_TEST, *BASES, OURS_SMALL, OURS_SMALL + DECODING, DECODER)
# For all contenders, because glibc returns the memory of images and batches to the system in some processes only.
_KEEP_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**36)}
BATCH_SIZE = 64
_BATCHES = 16  # per call: 1,024 images


def photo(seed: int, width: int = 500, height: int = 375) -> bytes:
    """Returns a JPEG of quality 90 with the entropy of a photograph: about 60 kB at 500x375 pixels.

    It has smooth fields of five scales, sensor noise, shapes with edges, and text.
    """
    from PIL import Image, ImageDraw

    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3))
    for cells in (3, 8, 24, 75, 190):
        field = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += (np.asarray(field.resize((width, height), Image.Resampling.BICUBIC)) - 127.5) * cells**-0.7
    pixels = 127.5 + pixels * 55 / pixels.std() + random.normal(0, 8, pixels.shape)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for shape in 6 * (draw.rectangle, draw.ellipse):
        left, top = random.integers(0, (width, height))
        right, bottom = np.add((left, top), random.integers(20, 120, 2))
        shape((left, top, right, bottom), fill=tuple(random.integers(0, 256, 3)), outline=(0, 0, 0))
    for _ in range(6):
        draw.text(tuple(random.integers(0, (width, height))), f"photograph {seed}", fill=(255, 255, 255))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def write_images(folder: Path, count: int) -> list[int]:
    """Writes two classes as `train/<class>/<image>`, and the same images in `test`; returns the file sizes in bytes."""
    sizes = []
    for number in range(count):
        data = photo(number)
        for split in ("train", "test"):
            path = folder / split / "ab"[number % 2] / f"{number:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        sizes.append(len(data))
    return sizes


def tf_image_batches(folder: Path, batch_size: int, train: bool):
    """Returns batches from the tf.image operations of the official code."""
    import tensorflow as tf

    paths = sorted(str(path) for path in folder.glob("train/*/*.jpg" if train else "test/*/*.jpg"))
    labels = [int(Path(path).parent.name == "b") for path in paths]

    def prepare(path, label):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.image.resize(image, (512, 512) if train else (480, 480))
        if train:
            image = tf.image.random_crop(image, (480, 480, 3))
            image = tf.image.random_flip_left_right(image)
        return (image - 127.5) / 127.5, tf.one_hot(label, 2)

    examples = tf.data.Dataset.from_tensor_slices((paths, labels))
    if train:
        examples = examples.shuffle(len(paths)).repeat()
    return examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(1)


def work(
    contender: str, folder: Path, batch_size: int = BATCH_SIZE, batches: int = _BATCHES, cores: int = 1
) -> Callable[[], int]:
    """Returns a function that reads `batches` batches and returns their number of images.

    Each call starts a new iterator. A running one would prefetch batches between the turns, which would speed up this
    contender and slow down the others.
    """
    if contender == DECODER:
        return _decoder(folder, batch_size * batches, cores)
    from bit_keras import data

    name, keep = contender.removesuffix(DECODING), not contender.endswith(DECODING)
    if name in (TF_IMAGE, TF_IMAGE_TEST):
        dataset = tf_image_batches(folder, batch_size, train=name == TF_IMAGE)
    elif name == OURS_TEST:
        dataset = data.test_batches(data.load(str(folder)), batch_size=batch_size, crop=480, keep=keep)
    else:
        resize, crop = (512, 480) if name == OURS else (160, 128)
        source = data.load(str(folder))
        dataset = data.train_batches(source, batch_size=batch_size, resize=resize, crop=crop, seed=0, keep=keep)
    dataset = dataset.repeat().take(batches)
    iterators = []  # kept alive: closing one waits for tf.data's autotuner, which sleeps for seconds

    def read() -> int:
        iterators.append(iter(dataset))
        return sum(len(images) for images, _ in iterators[-1])

    return read


def _decoder(folder: Path, count: int, cores: int) -> Callable[[], int]:
    import simplejpeg

    files = itertools.cycle([path.read_bytes() for path in sorted(folder.glob("train/*/*.jpg"))])
    threads = concurrent.futures.ThreadPoolExecutor(cores)

    def decode(file: bytes) -> np.ndarray:
        return simplejpeg.decode_jpeg(file, fastdct=True)  # the inverse DCT that TensorFlow uses

    return lambda: len(list(threads.map(decode, itertools.islice(files, count))))


def _run_contender() -> None:
    # Before the import of TensorFlow, which counts the cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-_CORES.value :])
    contest.take_turns(work(_CONTENDER.value, Path(_FOLDER.value), cores=_CORES.value))


def main() -> None:
    if _CONTENDER.value:
        _run_contender()
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = write_images(Path(folder), _IMAGES)
        print(f"{contest.processor()}; {len(sizes)} JPEG files of 500x375, {statistics.mean(sizes) / 1000:.0f} kB each")
        for cores in sorted({1, len(os.sched_getaffinity(0))}):
            flags_ = [f"--folder={folder}", f"--cores={cores}"]
            environments = {name: {"CUDA_VISIBLE_DEVICES": ""} for name in CONTENDERS}
            seconds, _ = contest.contest("benchmarks.input_pipeline", environments, _ROUNDS.value, flags_, _KEEP_MEMORY)
            _print_table(seconds, cores)


def _print_table(seconds: dict[str, list[float]], cores: int) -> None:
    where = f"on {cores} core{'s' * (cores > 1)}"
    print(f"\n| {where} | images/s per core | speed relative to tf.image | fraction of libjpeg-turbo |")
    print("|---|---|---|---|")
    for name in CONTENDERS:
        rate = BATCH_SIZE * _BATCHES / statistics.median(seconds[name]) / cores
        speed = contest.ratio(seconds, BASES[name], name) if name in BASES else ""
        fraction = statistics.median(a / b for a, b in zip(seconds[DECODER], seconds[name]))
        print(f"| {name} | {rate:.0f} | {speed} | {fraction:.0%} |", flush=True)


if __name__ == "__main__":
    frame.run(main, "contender")
