"""The BiT-HyperRule: sets every fine-tuning hyper-parameter from the number of examples and the image size.

Source: arXiv 1912.11370, section 3.3, and the official `bit_hyperrule.py` (google-research/big_transfer),
which has precedence where the two differ. This module is pure Python: a record of numbers.
"""

import dataclasses

from bit_keras.rules.schedules import Schedule
from bit_keras.system.checks import check_integer, known_arguments

# (number of training examples below which the row applies, supports in updates, MixUp alpha). The linear warm-up ends
# at the first support and training at the last one; after each of the others the learning rate is divided by 10.
_SMALL = (20_000, (100, 200, 300, 400, 500), 0.0)
_MEDIUM = (500_000, (500, 3_000, 6_000, 9_000, 10_000), 0.1)
_LARGE = (float("inf"), (500, 6_000, 12_000, 18_000, 20_000), 0.1)

# Pixels. Images with a smaller area are resized to 160 and cropped to 128, the others to 512 and 480.
_SMALL_AREA = 96 * 96

# Each support of a row needs an update of its own.
_LEAST_STEPS = len(_SMALL[1])

# How to adapt the rule to a batch size other than the paper's; see `HyperRule.scaled`.
SCALES = ("none", "linear", "schedule")
_PAPER_BATCH = 512


@known_arguments
@dataclasses.dataclass(frozen=True)
class HyperRule:
    """Fine-tuning hyper-parameters of one downstream task.

    Attributes:
        num_examples: size of the training set; in few-shot learning examples per class times number of classes.
        image_size: (height, width) in pixels of the original images.
        batch_size: images per update. The paper uses 512; the official CIFAR table used 128 with base_lr 0.001.
        base_lr: learning rate after the warm-up.
        steps: number of updates, 5 or more; None for the rule's. Warm-up and drops scale with it.
        resolution: side of the training crop in pixels, None for the rule's. The resize scales with it.
        momentum: of SGD, in [0, 1).

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> rule = bit_keras.HyperRule(num_examples=50_000, image_size=(32, 32))
        >>> rule.total_steps, rule.resize, rule.crop, rule.mixup_alpha, rule.learning_rate(250)
        (10000, 160, 128, 0.1, 0.0015)
    """

    num_examples: int
    image_size: tuple[int, int]
    batch_size: int = 512
    base_lr: float = 0.003
    steps: int | None = None
    resolution: int | None = None
    momentum: float = 0.9

    def __post_init__(self):
        for name in ("num_examples", "batch_size", "steps", "resolution"):
            value = getattr(self, name)
            if value is not None or name not in ("steps", "resolution"):
                check_integer(name, value)
        if self.steps is not None and self.steps < _LEAST_STEPS:
            raise ValueError(
                f"steps must be {_LEAST_STEPS} or more, so that the end of the warm-up, the drops of the learning rate "
                f"and the end are in updates of their own, got {self.steps}"
            )
        if min(self.image_size) < 1:
            raise ValueError(f"image_size must be (height, width) in pixels, each 1 or more, got {self.image_size}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum}")
        _ = self.schedule  # validates the remaining numbers

    @property
    def _row(self) -> tuple[float, tuple[int, ...], float]:
        return next(row for row in (_SMALL, _MEDIUM, _LARGE) if self.num_examples < row[0])

    @property
    def _has_small_images(self) -> bool:
        height, width = self.image_size
        return height * width < _SMALL_AREA

    @property
    def schedule(self) -> Schedule:
        """Schedule of the learning rate: warm-up, drops and number of updates."""
        supports = self._row[1]
        if self.steps is not None:
            supports = [max(1, round(s * self.steps / supports[-1])) for s in supports]
        return Schedule(self.base_lr, supports[0], tuple(supports[1:-1]), supports[-1])

    @property
    def total_steps(self) -> int:
        """Number of updates."""
        return self.schedule.total_steps

    @property
    def mixup_alpha(self) -> float:
        """Parameter of MixUp's Beta(alpha, alpha); 0 means no MixUp."""
        return self._row[2]

    @property
    def crop(self) -> int:
        """Side in pixels of the random training crop and of the images in evaluation."""
        return self.resolution or (128 if self._has_small_images else 480)

    @property
    def resize(self) -> int:
        """Side in pixels to which training images are resized before the crop."""
        resize, crop = (160, 128) if self._has_small_images else (512, 480)
        return round(self.crop * resize / crop)

    @known_arguments
    def scaled(self, how: str) -> "HyperRule":
        """Returns the rule adapted to its batch size, if that differs from the paper's 512.

        Args:
            how: "none" changes nothing; "linear" makes the learning rate proportional to the batch size; "schedule"
                makes the number of updates inversely proportional to the batch size, so that training processes the
                same number of images.

        Raises:
            ValueError: `how` has another value.
        """
        if how not in SCALES:
            raise ValueError(f"how must be one of {', '.join(SCALES)}, got {how!r}")
        if how == "linear":
            return dataclasses.replace(self, base_lr=self.base_lr * self.batch_size / _PAPER_BATCH)
        if how == "schedule":
            return dataclasses.replace(self, steps=max(1, round(self.total_steps * _PAPER_BATCH / self.batch_size)))
        return self

    @known_arguments
    def learning_rate(self, step: int) -> float | None:
        """Learning rate of update `step`, counted from 0; None after the last one, as in the official `get_lr`.

        Raises:
            ValueError: `step` is less than 0.
        """
        return self.schedule.learning_rate(step)

    def optimizer(self):
        """Returns the rule's keras.optimizers.SGD: momentum, no weight decay, the schedule in the graph."""
        from bit_keras.rules import optimizers  # imports Keras, which the rule itself does not need

        return optimizers.optimizer(self.schedule, self.momentum)

    @known_arguments
    def callbacks(self, seed: int = 0) -> list:
        """Returns the Keras callbacks that apply the schedule and MixUp in any `fit`, and stop it in time.

        Args:
            seed: of MixUp, in [0, 2**31).

        Raises:
            ValueError: `seed` is out of its range.
        """
        from bit_keras.rules.callbacks import rule_callbacks

        return rule_callbacks(self.schedule, self.mixup_alpha, seed)
