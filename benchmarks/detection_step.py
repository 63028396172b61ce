"""Program: compares a training step of a detector with torchvision's RetinaNet: time and, in processes alone, memory.

Example:
    python -m benchmarks.detection_step --rounds=5

A step is forward pass, both losses, backward pass and an update of SGD with momentum on one batch in memory. Both have
random weights, a ResNet-50 (BiT's has norms of its own kind, and pyramid and heads too), 256 channels and 4
convolutions in each head. torchvision's trains all layers and keeps its frozen batch norms. Needs the extra dev.
"""

from collections.abc import Callable

import numpy as np
from absl import flags

from benchmarks import contest, frame
from benchmarks.step_memory import ALLOCATORS, peak

_OURS, _THEIRS = "bit_keras", "torchvision"
_MODULE = "benchmarks.detection_step"
_NUM_CLASSES = 80
_BOXES = 8  # in each image
_LEARNING_RATE, _MOMENTUM = 0.001, 0.9


def _define_flags() -> None:
    flags.DEFINE_string("contender", None, "Run as this contender; for the program itself.")
    flags.DEFINE_bool("memory", False, "Measure memory; for the program itself.")
    flags.DEFINE_integer("batch_size", 4, "Images per step.", lower_bound=1)
    flags.DEFINE_integer("side", 512, "Side of the images in pixels.", lower_bound=64)
    flags.DEFINE_integer("rounds", 5, "Turns per contender.", lower_bound=1)
    contest.define_allocator_flag()


def main() -> None:
    given = flags.FLAGS
    if given.contender:
        run(given.contender)
        return
    settings = [f"--batch_size={given.batch_size}", f"--side={given.side}"]
    print(contest.processor())
    memory = {}
    for name in (_OURS, _THEIRS):
        _, facts = contest.contest(_MODULE, {name: {}}, 0, [*settings, "--memory"], ALLOCATORS)
        memory[name] = f"{facts[name]['bytes'] / given.batch_size / 1e9:.2f} GB"
    contenders = {_OURS: {}, _THEIRS: {}}
    contests = contest.on_all_allocators(_MODULE, contenders, given.rounds, settings, given.allocator)
    for allocator, seconds in contests:
        rows = [[allocator, "ms", f"speed relative to {_THEIRS}", "memory per image"], ["---"] * 4]
        for name, values in seconds.items():
            rows.append([name, contest.milliseconds(values), contest.ratio(seconds, _THEIRS, name), memory[name]])
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))


def run(name: str) -> None:
    """Runs as the named contender, in its own process."""
    step = {_OURS: _ours, _THEIRS: _theirs}[name]()
    step()
    if flags.FLAGS.memory:
        contest.take_turns(step, warm_up=0, bytes=peak(step))
        return
    contest.take_turns(step, warm_up=1)


def _batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns images in [-1, 1], boxes [top, left, bottom, right] and labels."""
    given, random = flags.FLAGS, np.random.default_rng(0)
    images = random.uniform(-1, 1, (given.batch_size, given.side, given.side, 3)).astype("float32")
    starts = random.uniform(0, given.side / 2, (given.batch_size, _BOXES, 2))
    sides = random.uniform(given.side / 16, given.side / 2, (given.batch_size, _BOXES, 2))
    labels = random.integers(0, _NUM_CLASSES, (given.batch_size, _BOXES))
    return images, np.concatenate([starts, starts + sides], axis=-1).astype("float32"), labels.astype("int32")


def _ours() -> Callable:
    import keras

    from bit_keras.detection import Detector
    from bit_keras.rules import SGDWithL2

    detector = Detector("R50x1", _NUM_CLASSES)
    detector.compile(SGDWithL2(learning_rate=_LEARNING_RATE, momentum=_MOMENTUM))
    images, boxes, labels = map(keras.ops.convert_to_tensor, _batch())
    return lambda: detector.train_on_batch(images, {"boxes": boxes, "labels": labels})


def _theirs() -> Callable:
    from tests import torchvision_operators  # noqa: F401, I001  before torchvision

    import torch
    from torchvision.models import detection

    side = flags.FLAGS.side
    module = detection.retinanet_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=_NUM_CLASSES, min_size=side, max_size=side
    ).train()
    images, boxes, labels = _batch()
    pictures = list(torch.from_numpy((images.transpose(0, 3, 1, 2) + 1) / 2))
    targets = [
        {"boxes": torch.from_numpy(box[:, [1, 0, 3, 2]].copy()), "labels": torch.from_numpy(label.astype("int64"))}
        for box, label in zip(boxes, labels, strict=True)
    ]
    optimizer = torch.optim.SGD(module.parameters(), lr=_LEARNING_RATE, momentum=_MOMENTUM, weight_decay=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        loss = sum(module(pictures, targets).values())
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    step.release = optimizer.zero_grad
    return step


if __name__ == "__main__":
    _define_flags()
    frame.run(main, "contender")
