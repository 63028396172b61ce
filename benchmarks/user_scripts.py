"""What a user of each library writes: fine-tune on a folder of photographs, save, and name a photo in a new process.

Each `train_*` marks the phases on a clock. Libraries are imported in the functions, because their import is a phase.
"""

import importlib.util
import logging
import os
import sys
import time
from pathlib import Path

import numpy as np

BATCH_SIZE, RESIZE, SIDE = 32, 160, 128
OFFICIAL_WEIGHTS = "official"  # in the folder of a run
_LEARNING_RATE, _MOMENTUM = 0.003, 0.9
_SEED = 0
_TIMM_NAME = "resnetv2_50x1_bit"
# {beginning of a message of bit_keras: phase that ends with it}. Messages are made before what they announce, and again
# while it takes long.
_MESSAGES = {
    "batches of": "scan",
    "compiling the first update": "load",
    "evaluating on": "checkpoint",
    "writing weights and report": "test evaluation",
    "writing SavedModel": "report",
    "computing what it must return": "export: write",
    "comparing it with the model": "export: expected",
}


class Clock:
    """Wall time and CPU time per phase.

    Args:
        began: `time.time()` when the first phase began.
        used: CPU seconds, as `cpu_seconds` returns them, at that time.

    Attributes:
        seconds: {phase: [seconds, CPU seconds of the process and of those that it started and that have ended]}.
    """

    def __init__(self, began: float, used: float = 0.0):
        self._last = began, used
        self.seconds = {}

    def mark(self, phase: str) -> None:
        """Ends a phase, which may have several parts."""
        now = time.time(), cpu_seconds()
        before = self.seconds.get(phase, [0.0, 0.0])
        self.seconds[phase] = [sum(values) - last for *values, last in zip(before, now, self._last)]
        self._last = now


def cpu_seconds() -> float:
    """Returns the CPU seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def train_ours(clock: Clock, images: Path, weights: Path, folder: Path, updates: int) -> float:
    """Fine-tunes with bit_keras; returns the test accuracy. All phases are marked from outside of the library."""
    import keras

    import bit_keras

    clock.mark("imports")
    from bit_keras import training

    class Marks(logging.Handler):
        def emit(self, record):
            message = record.getMessage()
            for beginning, phase in _MESSAGES.items():
                if message.startswith(beginning) and not message.endswith("so far"):
                    clock.mark(phase)

    class Steps(keras.callbacks.Callback):
        count = 0

        def on_train_batch_end(self, batch, logs=None):
            self.count += 1
            if self.count in (1, updates):
                clock.mark("first step" if self.count == 1 else "other steps")

    class Validation(training.Validation):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            clock.mark("evaluation")

    training.Validation = Validation
    logging.getLogger("bit_keras").addHandler(Marks())
    settings = {"steps": updates, "eval_every": updates, "batch_size": BATCH_SIZE, "resize": RESIZE, "resolution": SIDE}
    options = {**settings, "seed": _SEED, "export_dir": str(folder / "saved_model")}
    result = bit_keras.finetune(str(weights), str(images), str(folder / "run"), callbacks=[Steps()], **options)
    clock.mark("export: check")
    return result.summary["test_accuracy"]


def official_models(checkout: str):
    """Returns bit_tf2/models.py of google-research/big_transfer for tf_keras.

    The attribute that it replaces in convolutions has been renamed since.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    sys.path.insert(0, checkout)
    spec = importlib.util.find_spec("bit_tf2.models")
    code = Path(spec.origin).read_text(encoding="utf-8").replace("self._convolution_op", "self.convolution_op")
    module = importlib.util.module_from_spec(spec)
    exec(compile(code, spec.origin, "exec"), module.__dict__)
    return module


def write_official(checkout: str, weights: Path, path: Path) -> None:
    """Writes the weights of an npz file as a checkpoint that the official network for TF2 loads.

    It is in TensorFlow's format: tf_keras no longer writes h5 files of networks whose variables have the same names.
    """
    from bit_keras.checkpoints.architecture import weight_shapes
    from bit_keras.zoo.variants import get_variant

    models = official_models(checkout)
    num_outputs = _num_outputs(weights)
    network = _official_network(models, num_outputs)
    with np.load(weights, allow_pickle=False) as arrays:
        # Its variables have incomplete names, in the order of the architecture; shapes are compared.
        for variable, name in zip(network.variables, weight_shapes(get_variant("R50x1"), num_outputs), strict=True):
            is_head = name.startswith("resnet/head/")
            variable.assign(arrays[name].reshape(variable.shape) if is_head else arrays[name])
    network.save_weights(path, save_format="tf")


def _official_network(models, num_outputs: int):
    network = models.ResnetV2((3, 4, 6, 3), num_outputs, filters_factor=4, name="resnet")
    network.build((None, None, None, 3))
    return network


def train_official(clock: Clock, images: Path, weights: Path, folder: Path, updates: int, checkout: str) -> float:
    """Fine-tunes as bit_tf2/train.py does, with its network, on a folder; returns the test accuracy."""
    models = official_models(checkout)
    import tensorflow as tf

    tf.keras.utils.set_random_seed(_SEED)
    clock.mark("imports")
    classes, train, test = _listed(images)

    def decoded(path, label, side):
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, [side, side]), tf.one_hot(label, len(classes))

    def augmented(path, label):
        image, label = decoded(path, label, RESIZE)
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, [SIDE, SIDE, 3]))
        return (image - 127.5) / 127.5, label

    def plain(path, label):
        image, label = decoded(path, label, SIDE)
        return (image - 127.5) / 127.5, label

    auto = tf.data.AUTOTUNE
    shuffled = tf.data.Dataset.from_tensor_slices(train).repeat().shuffle(len(train[0]))
    training = shuffled.map(augmented, auto).batch(BATCH_SIZE, drop_remainder=True).prefetch(auto)
    testing = tf.data.Dataset.from_tensor_slices(test).map(plain, auto).batch(BATCH_SIZE).prefetch(auto)
    clock.mark("scan")
    network = _official_network(models, _num_outputs(weights))
    network.load_weights(folder / OFFICIAL_WEIGHTS)
    network._head = tf.keras.layers.Dense(len(classes), kernel_initializer="zeros", name="head/dense")
    optimizer = tf.keras.optimizers.SGD(_LEARNING_RATE, momentum=_MOMENTUM)
    network.compile(optimizer, tf.keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    clock.mark("load")
    for phase, steps in (("first step", 1), ("other steps", updates - 1)):
        network.fit(training, steps_per_epoch=steps, verbose=0)
        clock.mark(phase)
    _, accuracy = network.evaluate(testing, verbose=0)
    clock.mark("test evaluation")
    tf.saved_model.save(network, str(folder / "saved_model"))
    clock.mark("export: write")
    return accuracy


def name_official(images: Path, folder: Path, photo: Path) -> str:
    """Returns the class of a photo by the SavedModel of `train_official`."""
    import tensorflow as tf

    image = tf.image.decode_jpeg(tf.io.read_file(str(photo)), channels=3)
    image = (tf.image.resize(image, [SIDE, SIDE]) - 127.5) / 127.5
    logits = tf.saved_model.load(str(folder / "saved_model"))(image[None], training=False)
    return _listed(images)[0][int(np.argmax(logits))]


def train_timm(clock: Clock, images: Path, weights: Path, folder: Path, updates: int) -> float:
    """Fine-tunes timm's network in torch; returns the test accuracy."""
    import torch
    from torch.utils.data import DataLoader

    timm, datasets, transforms = _torch_packages()
    torch.manual_seed(_SEED)
    clock.mark("imports")
    scaled = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    augmented = [transforms.Resize((RESIZE, RESIZE)), transforms.RandomCrop(SIDE), transforms.RandomHorizontalFlip()]
    train = datasets.ImageFolder(images / "train", transforms.Compose(augmented + scaled))
    test = datasets.ImageFolder(images / "test", transforms.Compose([transforms.Resize((SIDE, SIDE)), *scaled]))
    workers = {"batch_size": BATCH_SIZE, "num_workers": os.cpu_count()}
    training = DataLoader(train, shuffle=True, drop_last=True, persistent_workers=True, **workers)
    clock.mark("scan")
    network = timm.create_model(_TIMM_NAME, num_classes=_num_outputs(weights))
    network.load_pretrained(str(weights))
    network.reset_classifier(len(train.classes))
    torch.nn.init.zeros_(network.head.fc.weight)
    network = network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), _LEARNING_RATE, _MOMENTUM)
    clock.mark("load")
    made = 0
    while made < updates:
        for pictures, labels in training:
            optimizer.zero_grad()
            logits = network(pictures.contiguous(memory_format=torch.channels_last))
            torch.nn.functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            made += 1
            if made == 1:
                clock.mark("first step")
            if made == updates:
                break
    clock.mark("other steps")
    network.eval()
    with torch.inference_mode():
        right = [network(pictures).argmax(1) == labels for pictures, labels in DataLoader(test, **workers)]
    clock.mark("test evaluation")
    torch.save({"state": network.state_dict(), "classes": train.classes}, folder / "network.pt")
    clock.mark("export: write")
    return float(torch.cat(right).float().mean())


def name_timm(images: Path, folder: Path, photo: Path) -> str:
    """Returns the class of a photo by the network of `train_timm`."""
    import torch
    from PIL import Image

    timm, _, transforms = _torch_packages()
    saved = torch.load(folder / "network.pt", weights_only=True)
    network = timm.create_model(_TIMM_NAME, num_classes=len(saved["classes"])).eval()
    network.load_state_dict(saved["state"])
    scale = transforms.Normalize([0.5] * 3, [0.5] * 3)
    with torch.inference_mode():
        picture = transforms.Resize((SIDE, SIDE))(Image.open(photo).convert("RGB"))
        return saved["classes"][int(network(scale(transforms.ToTensor()(picture))[None]).argmax())]


def _torch_packages() -> tuple:
    """Returns the modules timm, torchvision.datasets and torchvision.transforms."""
    from tests import torchvision_operators  # noqa: F401, I001  before the others

    import timm
    from torchvision import datasets, transforms

    return timm, datasets, transforms


def _num_outputs(weights: Path) -> int:
    with np.load(weights, allow_pickle=False) as arrays:
        return len(arrays["resnet/head/conv2d/bias"])


def _listed(images: Path) -> tuple[list[str], tuple[list[str], list[int]], tuple[list[str], list[int]]]:
    """Returns the names of the classes, and the files and labels of training and test."""
    classes = sorted(folder.name for folder in (images / "train").iterdir())

    def split(name: str) -> tuple[list[str], list[int]]:
        found = ((file, k) for k, each in enumerate(classes) for file in (images / name / each).iterdir())
        files, labels = zip(*sorted(found))
        return [str(file) for file in files], list(labels)

    return classes, split("train"), split("test")
