"""Table of benchmark tasks: which examples of which data set, and how their labels are made.

Sources: google-research/task_adaptation, `task_adaptation/data/*.py` (splits and labels); arXiv 1912.11370, appendix F
(crops and flips); TensorFlow Datasets 4.9.10 (names and versions).
"""

import dataclasses
import difflib
import fnmatch

from bit_keras.system.checks import known_arguments
from bit_keras.zoo.evaluation_sets import EVALUATION_SETS
from bit_keras.zoo.preparation import Preparation, preparation_of

VTAB_GROUPS = ("natural", "specialized", "structured")


@dataclasses.dataclass(frozen=True)
class Task:
    """One task; its data are those of TensorFlow Datasets. The metric of all tasks is top-1 accuracy.

    Attributes:
        name: what users write, for example "vtab/clevr-count".
        builder: "name:version" or "name/config:version" in TensorFlow Datasets.
        train: split expression of the training examples.
        test: split expression of the test examples.
        num_classes: number of classes, of which the training examples need not have all.
        group: one of VTAB_GROUPS.
        label: how the label of an example is made, a key of `bit_keras.data.sources.task_labels.LABELS`.
        scale: factor of the pixels, 255 for images of zeros and ones.
        random_crop: False if a crop would change the label.
        flip: False if mirroring would change the label.
    """

    name: str
    builder: str
    train: str
    test: str
    num_classes: int
    group: str
    label: str = "label"
    scale: int = 1
    random_crop: bool = True
    flip: bool = True

    @property
    def preparation(self) -> Preparation:
        """What preparing the data needs beyond TensorFlow Datasets."""
        return preparation_of(self.builder)


_CLEVR = ("clevr:3.1.0", "train[:800]+train[63000:63200]", "validation")
_DSPRITES = ("dsprites:2.0.0", "train[:800]+train[589824:590024]", "train[663552:]", 16, "structured")
_SMALLNORB = ("smallnorb:2.0.0", "train[:800]+test[:200]", "test[50%:]")
_VALIDATION = ("train[:800]+validation[:200]", "test")


def _last(first: int) -> tuple[str, str]:
    """Returns the splits of a data set without validation split: validation examples are taken from the end."""
    return f"train[:800]+train[{first}:{first + 200}]", "test"


def _rest(first: int, test: int) -> tuple[str, str]:
    """Returns the splits of a data set with a training split alone."""
    return f"train[:800]+train[{first}:{first + 200}]", f"train[{test}:]"


# VTAB-1k: 800 training and 200 validation examples, all of which train the final network.
VTAB = (
    Task("vtab/caltech101", "caltech101:3.0.2", *_last(2754), 102, "natural"),
    Task("vtab/cifar100", "cifar100:3.0.2", *_last(45000), 100, "natural"),
    Task("vtab/dtd", "dtd:3.0.1", *_VALIDATION, 47, "natural"),
    Task("vtab/oxford_flowers102", "oxford_flowers102:2.1.1", *_VALIDATION, 102, "natural"),
    Task("vtab/oxford_iiit_pet", "oxford_iiit_pet:4.0.0", *_last(2944), 37, "natural"),
    Task("vtab/sun397", "sun397/tfds:4.0.0", *_VALIDATION, 397, "natural"),
    Task("vtab/svhn", "svhn_cropped:3.1.0", *_last(65931), 10, "natural"),
    Task("vtab/patch_camelyon", "patch_camelyon:2.0.0", *_VALIDATION, 2, "specialized"),
    Task("vtab/eurosat", "eurosat/rgb:2.0.0", *_rest(16200, 21600), 10, "specialized"),
    Task("vtab/resisc45", "resisc45:3.0.0", *_rest(18900, 25200), 45, "specialized"),
    Task(
        "vtab/diabetic_retinopathy",
        "diabetic_retinopathy_detection/btgraham-300:3.0.0",
        *_VALIDATION,
        5,
        "specialized",
    ),
    Task("vtab/clevr-count", *_CLEVR, 8, "structured", "number of objects", random_crop=False),
    Task("vtab/clevr-distance", *_CLEVR, 6, "structured", "distance of the closest object", random_crop=False),
    Task("vtab/dmlab", "dmlab:2.0.1", *_VALIDATION, 6, "structured", random_crop=False),
    Task(
        "vtab/kitti-distance",
        "kitti:3.1.0",
        *_VALIDATION,
        4,
        "structured",
        "distance of the closest vehicle",
        random_crop=False,
    ),
    Task("vtab/dsprites-xpos", *_DSPRITES, "x position", scale=255, random_crop=False, flip=False),
    Task("vtab/dsprites-orientation", *_DSPRITES, "orientation", scale=255, flip=False),
    Task("vtab/smallnorb-azimuth", *_SMALLNORB, 18, "structured", "azimuth", flip=False),
    Task("vtab/smallnorb-elevation", *_SMALLNORB, 9, "structured", "elevation"),
)

TASKS = {task.name: task for task in VTAB}
FAMILIES = ("vtab/",)  # how names of tasks begin


@known_arguments
def get_task(name: str) -> Task:
    """Returns the task of this name, for example "vtab/clevr-count".

    Raises:
        ValueError: the name is unknown; the message contains the most similar ones.
    """
    if name not in TASKS:
        similar = difflib.get_close_matches(name, TASKS, n=3) or list(TASKS)[:3]
        raise ValueError(f"task must be one of {len(TASKS)} names, such as {', '.join(similar)}; got {name!r}")
    return TASKS[name]


@known_arguments
def list_tasks(pattern: str = "*") -> list[str]:
    """Returns the names of tasks and evaluation sets that match a pattern.

    Tasks are data sets for all programs, evaluation sets for all programs that do not train.

    Args:
        pattern: as in a shell: `"vtab/*"`; "*" for all.

    Example:
        >>> bit_keras.list_tasks("vtab/clevr*")
        ['vtab/clevr-count', 'vtab/clevr-distance']
    """
    return fnmatch.filter([*TASKS, *EVALUATION_SETS], pattern)
