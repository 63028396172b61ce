"""Settings of the training of a detector."""

import dataclasses
import math
from collections.abc import Mapping

from bit_keras.detection.data.augmentation import SCALES
from bit_keras.detection.data.batches import MAX_BOXES, check_scales
from bit_keras.detection.data.loading import FORMS
from bit_keras.detection.network.detector import DEPTH, WIDTH, check_sizes
from bit_keras.network.freezing import FREEZES
from bit_keras.rules.schedules import Schedule
from bit_keras.runs.config import TrainingConfig, option
from bit_keras.system.checks import check_choice, check_integer

# The paper's recipe, arXiv 1912.11370, appendix E.
_EPOCHS, _DROPS, _BATCH, _RATE = 30, (16, 22), 256, 0.08
_SHORTEST = 4  # updates

# Settings for reading boxes, arguments of `open_dataset`.
LOAD_OPTIONS = (
    *("data_dir", "manual_dir", "skip_unreadable", "image_dir", "classes"),
    *("image_column", "label_column", "box_columns", "box_format", "box_unit"),
)
# {title: names of settings}: the sections of `--help`.
GROUPS = {
    "model": ("model", "width", "depth", "freeze"),
    "data": ("dataset", *LOAD_OPTIONS, "validation", "resolution", "flip", "min_scale", "max_scale", "max_boxes"),
    "training": (*("steps", "epochs", "batch_size", "base_lr", "weight_decay", "clip_norm", "seed", "deterministic"),),
    "memory and devices": ("accumulate", "remat", "precision", "distribute"),
    "results": ("workdir", "export_dir", "eval_every", "checkpoint_every", "dry_run"),
}


def loading_options(values: Mapping) -> dict:
    """Returns the arguments of `open_dataset` from {name in LOAD_OPTIONS: value of the flag}."""
    return {**values, "box_columns": values["box_columns"] and values["box_columns"].split(",")}


@dataclasses.dataclass(frozen=True)
class TrainConfig(TrainingConfig):
    """Settings of one run; each field is a flag of `python -m bit_keras.detection train`, its text the flag's help.

    The defaults are the paper's (arXiv 1912.11370, section 3.7 and appendix E): 30 epochs in batches of 256 images of
    1024 pixels, a learning rate of 0.08 that drops by 10 after 16 and 22 epochs, weight decay 1e-4. The paper does not
    say whether 0.08 is the rate of its batches of 256, as it reads, or the setting of the code that it refers to, which
    means batches of 64 by it, and would train at 0.32; here it is the rate.

    Raises:
        ValueError: a setting is out of its range.
        TypeError: a setting has the wrong type.

    Example:
        >>> from bit_keras.detection.training.config import TrainConfig
        >>> config = TrainConfig(model="BiT-M-R50x1", dataset="coco:coco", workdir="runs/coco", batch_size=64)
        >>> print(config.schedule(num_train=118_287))
        55,448 updates, learning rate 0.02 after 1,848 of warm-up, a tenth after 29,572, 40,662
    """

    model: str = option(
        "",
        "Preset (see bit_keras.list_presets()) or weight file of a classifier, whose backbone is taken; weight file of "
        "a detector, to train it further; or variant for random weights.",
    )
    dataset: str = option("", f"Images with boxes: {FORMS}.")
    image_dir: str | None = option(None, "Folder of the images of a COCO file; looked for beside it if not given.")
    classes: str | None = option(None, "Text file with a class per line, for VOC and CSV; else the names that occur.")
    image_column: str | None = option(None, "Column of a CSV file with the images; else the usual names.")
    label_column: str | None = option(None, "As --image_column, with the classes.")
    box_columns: str | None = option(None, "As --image_column, with the boxes: one, or four separated by commas.")
    box_format: str | None = option(None, 'Order of a box in a CSV file: "xyxy", "yxyx" or "xywh".')
    box_unit: str | None = option(None, 'Unit of the boxes in a CSV file: "pixels" or "relative".')
    width: int | None = option(None, f"Channels of pyramid and heads; {WIDTH}, or those of a detector's weights.")
    depth: int | None = option(None, f"Convolutions in each head; {DEPTH}, or those of a detector's weights.")
    freeze: str = option("none", 'Last frozen stage of the backbone: "none", "root_block", or "block1" to "block4".')
    batch_size: int = option(_BATCH, "Images per update.")
    epochs: float = option(float(_EPOCHS), "Passes over the training images.")
    steps: int | None = option(None, "Updates of the whole training, instead of --epochs.")
    base_lr: float | None = option(
        None, f"Learning rate after the warm-up of a thirtieth; {_RATE} * batch_size / {_BATCH} if not given."
    )
    weight_decay: float = option(1e-4, "L2 penalty on the kernels, in the gradient.")
    clip_norm: float | None = option(None, "Largest norm of the gradient of an update; not limited if not given.")
    resolution: int = option(1024, "Side in pixels of the squares that images are resized into.")
    min_scale: float = option(SCALES[0], "Least random scale of a training image, relative to --resolution.")
    max_scale: float = option(SCALES[1], "Greatest random scale of a training image.")
    max_boxes: int = option(MAX_BOXES, "Most boxes of a training image; they need memory and time.")
    export_dir: str | None = option(None, "Write a SavedModel for TF Serving to this new folder at the end.")

    def __post_init__(self):
        super().__post_init__()
        check_sizes(1, WIDTH if self.width is None else self.width, DEPTH if self.depth is None else self.depth)
        check_integer("max_boxes", self.max_boxes)
        check_integer("resolution", self.resolution, minimum=2)
        check_choice("freeze", self.freeze, tuple(name for name in FREEZES if name != "head_only"))
        positive = {name: getattr(self, name) for name in ("epochs", "base_lr", "clip_norm")}
        for name, value in positive.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0, got {value}")
        check_scales(self.min_scale, self.max_scale)
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be 0 or more, got {self.weight_decay}")
        if self.box_columns is not None and len(self.box_columns.split(",")) not in (1, 4):
            raise ValueError(f"box_columns must be one name or four, separated by commas; got {self.box_columns!r}")

    @property
    def scales(self) -> tuple[float, float]:
        """Argument of `train_batches`."""
        return self.min_scale, self.max_scale

    @property
    def loading(self) -> dict:
        """Arguments of `open_dataset`."""
        return loading_options({name: getattr(self, name) for name in LOAD_OPTIONS})

    def settings(self) -> dict:
        """Returns the settings that affect the results of the run beyond rounding; JSON-able."""
        free = ("export_dir", "image_dir", "classes", "box_columns", "box_format", "box_unit")  # the data identify them
        return {name: value for name, value in super().settings().items() if name not in free}

    def schedule(self, num_train: int) -> Schedule:
        """Returns the schedule of the learning rate for this number of training images.

        Raises:
            ValueError: the training is too short for a warm-up, two drops and an end.
        """
        total = self.steps or math.ceil(self.epochs * num_train / self.batch_size)
        if total < _SHORTEST:
            epochs = f": {self.epochs:g} epochs of {num_train:,} images, {self.batch_size} at a time"
            raise ValueError(
                f"a training must have {_SHORTEST} updates or more, for a warm-up, two drops of the learning rate and "
                f"an end, got {total}{'' if self.steps else epochs}. Give steps, more epochs or a smaller batch_size"
            )
        rate = self.base_lr or _RATE * self.batch_size / _BATCH
        drops = tuple(round(total * epoch / _EPOCHS) for epoch in _DROPS)
        return Schedule(rate, max(1, round(total / _EPOCHS)), drops, total)
