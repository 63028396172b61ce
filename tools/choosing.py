"""Program: writes the tables of docs/choosing.md, from the tables of the package and the measurements in docs/.

    python -m tools.choosing            writes the tables into the page
    python -m tools.choosing --check    writes nothing, and exits with an error if a table differs

A table stands between the lines <!-- table: NAME --> and <!-- end -->.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.chips import find_chip
from benchmarks.gpu import multiplications
from bit_keras.network.memory import estimate_memory
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.zoo.results import published
from bit_keras.zoo.variants import VARIANTS, Variant

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PERFORMANCE = DOCS / "choosing.md", DOCS / "performance.md"

GPUS = {"T4": "Tesla T4", "V100": "Tesla V100", "A100": "NVIDIA A100", "H100": "NVIDIA H100"}
SHARE = 0.2  # of the peak, that a training is taken to reach
MEMORIES = (8, 16, 24, 80)  # GB of a GPU
MEMORY_SHARE = 0.6  # of it for what the estimate counts, as in benchmarks/gpu.py
_PAPER = tuple(name for name in VARIANTS if name != "R17x0.5")
_BATCH = 512
# A small image and a photograph, for the HyperRule's two resolutions, and numbers of images for its three lengths.
_SMALL, _PHOTO = (32, 32), (375, 500)
_COUNTS = (1_000, 100_000, 1_000_000)
_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def models() -> Iterator[Sequence[object]]:
    """Yields the rows of published accuracies and sizes."""
    yield (
        "model",
        "parameters",
        "features",
        "GFLOPs per image of 224, of 480 pixels",
        "ILSVRC-2012",
        "CIFAR-100: all, 5 per class",
        "ObjectNet",
    )
    for name in _PAPER:
        row = VARIANTS[name]
        fine_tuned = f"BiT-M-{name}-ILSVRC2012"
        yield (
            f"BiT-M-{name}",
            f"{(row.parameters - 1000 * (row.num_features + 1)) / 1e6:.0f} M",
            f"{row.num_features:,}",
            f"{_flops(name, 224) / 1e9:,.0f}, {_flops(name, 480) / 1e9:,.0f}",
            _accuracy(fine_tuned, "imagenet2012", "timm"),
            f"{_accuracy(f'BiT-M-{name}', 'cifar100')}, {_accuracy(f'BiT-M-{name}', 'cifar100', examples=5)}",
            _accuracy(fine_tuned, "objectnet", "paper"),
        )


def memory() -> Iterator[Sequence[object]]:
    """Yields the smallest number of micro-batches that fits, per variant, resolution and memory of a GPU."""
    yield ("model", "pixels", *(f"{size} GB" for size in MEMORIES))
    for name, side in itertools.product(_PAPER, (128, 480)):
        yield (name, side, *(_micro_batches(VARIANTS[name], side, size) for size in MEMORIES))


def seconds() -> Iterator[Sequence[object]]:
    """Yields the estimated seconds per update, per variant, resolution and GPU."""
    yield ("model", "pixels", "TFLOPs per update", *GPUS)
    for name, size in itertools.product(_PAPER, (_SMALL, _PHOTO)):
        crop = HyperRule(_COUNTS[0], size).crop
        cells = (_short(_update(name, crop, gpu)) for gpu in GPUS.values())
        yield (name, crop, f"{_work(name, crop) / 1e12:,.0f}", *cells)


def hours() -> Iterator[Sequence[object]]:
    """Yields the estimated hours of the HyperRule's three lengths, per variant, resolution and GPU."""
    yield ("model", "pixels", *GPUS)
    for name, size in itertools.product(_PAPER, (_SMALL, _PHOTO)):
        rules = [HyperRule(count, size) for count in _COUNTS]
        crop = rules[0].crop
        cells = (
            " / ".join(_short(_update(name, crop, gpu) * rule.total_steps / 3600) for rule in rules)
            for gpu in GPUS.values()
        )
        yield (name, crop, *cells)


def measured() -> Iterator[Sequence[object]]:
    """Yields what docs/performance.md measured, as updates of the HyperRule."""
    yield ("R50x1 at 128 pixels", "images/s", "s per update", *(f"hours for {count:,} images" for count in _COUNTS))
    text = PERFORMANCE.read_text()
    for precision, name in {"float32": "bit_keras", "bfloat16": "bit_keras, bfloat16"}.items():
        rate = float(re.search(rf"^\| {name} \| [^|]+ \| ([\d.]+) \|", text, re.MULTILINE)[1])
        runs = (HyperRule(count, _SMALL).total_steps * _BATCH / rate / 3600 for count in _COUNTS)
        yield (precision, rate, f"{_BATCH / rate:.1f}", *(f"{hours:,.1f}" for hours in runs))


TABLES: dict[str, Callable[[], Iterator[Sequence[object]]]] = {
    "models": models,
    "memory": memory,
    "seconds": seconds,
    "hours": hours,
    "measured": measured,
}


def _flops(variant: str, side: int) -> int:
    """Floating-point operations of a forward pass per image; a training step has three times as many."""
    return 2 * multiplications(variant, side)


def _work(variant: str, side: int) -> int:
    """Floating-point operations of an update."""
    return 3 * _BATCH * _flops(variant, side)


def _update(variant: str, side: int, gpu: str) -> float:
    """Estimated seconds of an update."""
    return _work(variant, side) / (SHARE * find_chip(gpu).peak)


def _accuracy(model: str, dataset: str, source: str | None = None, examples: int | None = None) -> str:
    rows = [row for row in published(model, dataset, examples) if source in (None, row.source)]
    return f"{rows[0].accuracy:.1f}" if rows else "-"


def _micro_batches(variant: Variant, side: int, gigabytes: int) -> str:
    """Returns the flags with the smallest --accumulate that fits; with --remat only where it is needed."""
    for remat in (False, True):
        for accumulate in (2**power for power in range(10)):
            needed = estimate_memory(variant, 1000, _BATCH, side, "mixed_bfloat16", accumulate, remat=remat)
            if needed.weights + needed.activations <= MEMORY_SHARE * gigabytes * 1e9:
                return f"{accumulate}{' remat' if remat else ''}"
    return "too large"


def _short(number: float) -> str:
    return f"{number:.2g}" if number < 9.95 else f"{number:,.0f}"


def filled(page: str) -> str:
    """Returns a page with all tables computed anew.

    Raises:
        ValueError: the page lacks a table.
    """
    found = [match[2] for match in _MARKED.finditer(page)]
    if sorted(found) != sorted(TABLES):
        raise ValueError(f"the page must have each of the tables {sorted(TABLES)} once, got {sorted(found)}")
    return _MARKED.sub(lambda match: match[1] + _markdown(TABLES[match[2]]()) + match[3], page)


def _markdown(rows: Iterator[Sequence[object]]) -> str:
    head, *others = ("| " + " | ".join(map(str, row)) + " |" for row in rows)
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *others]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a table differs")
    check, page = parser.parse_args().check, PAGE.read_text()
    text = filled(page)
    if check and text != page:
        sys.exit(f"out of date, run python -m tools.choosing: {PAGE.name}")
    PAGE.write_text(text)
    print(f"{len(TABLES)} tables in {PAGE}")


if __name__ == "__main__":
    main()
