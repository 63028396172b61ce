"""Settings common to trainings on inception crops."""

import dataclasses
import math

from bit_keras import data
from bit_keras.runs.config import RunConfig, option


@dataclasses.dataclass(frozen=True)
class InceptionConfig(RunConfig):
    """Settings of a run on inception crops, whose length is given in epochs.

    Raises:
        ValueError: a setting is out of its range.
    """

    epochs: float = option(90.0, "Passes over the training images.")
    resolution: int = option(224, "Side of the crop in pixels.")
    min_area: float = option(0.08, "Smallest fraction of an image's area that a training crop takes, in (0, 1].")
    weight_decay: float = option(1e-4, "Weight decay, 0 or more.")

    def __post_init__(self):
        super().__post_init__()
        if not self.epochs > 0:
            raise ValueError(f"epochs must be more than 0, got {self.epochs}")
        if not 0 < self.min_area <= 1:
            raise ValueError(f"min_area must lie in (0, 1], got {self.min_area}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be 0 or more, got {self.weight_decay}")

    def total_steps(self, source: data.Source) -> int:
        """Returns the number of updates of the whole training."""
        return math.ceil(self.epochs * source.num_train / self.batch_size)

    @property
    def images(self) -> dict:
        """Arguments of `open_run` that determine the crops."""
        return {"crop": self.resolution, "resize": self.resolution, "min_area": self.min_area}
