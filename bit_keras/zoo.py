"""Table of published weights and their files.

Source: the official bucket and README of google-research/big_transfer (Apache-2.0).
"""

import dataclasses
import fnmatch

from bit_keras.variants import VARIANTS

_BUCKET = "https://storage.googleapis.com/bit_models"
_NUM_CLASSES = {"ImageNet-1k": 1000, "ImageNet-21k": 21_843}


@dataclasses.dataclass(frozen=True)
class Preset:
    """One published weight file.

    Attributes:
        name: what users write, for example "BiT-M-R50x1".
        variant: name of the architecture.
        dataset: what the head was trained on last.
        url: address of the official npz file. No hash was published with it.
        licence: of the weights.
        input_range: of the images that the network takes.
    """

    name: str
    variant: str
    dataset: str
    url: str
    licence: str = "Apache-2.0"
    input_range: tuple[float, float] = (-1.0, 1.0)

    @property
    def num_classes(self) -> int:
        """Outputs of the published head."""
        return _NUM_CLASSES[self.dataset]


def _table() -> dict[str, Preset]:
    table = {}
    families = (("BiT-S-{}", "ImageNet-1k"), ("BiT-M-{}", "ImageNet-21k"), ("BiT-M-{}-ILSVRC2012", "ImageNet-1k"))
    published = [name for name in VARIANTS if name != "R17x0.5"]
    for pattern, dataset in families:
        for variant in published:
            name = pattern.format(variant)
            table[name] = Preset(name, variant, dataset, f"{_BUCKET}/{name}.npz")
    return table


PRESETS = _table()


def list_presets(pattern: str = "*") -> list[str]:
    """Returns the names of the published weights that match a shell pattern such as "BiT-M-*"."""
    return fnmatch.filter(PRESETS, pattern)
