"""Table of BiT architectures: ResNet-v2 with GroupNorm and weight standardization.

Source: "Big Transfer (BiT)", arXiv 1912.11370, section 3.1 and appendix B.
"""

import dataclasses

# Every stage multiplies the channels of its bottleneck by this (ResNet, arXiv 1512.03385).
EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class Variant:
    """One architecture.

    Attributes:
        name: what users write, for example "R50x1".
        depth: layers with weights as the field counts them, 3 per unit plus stem and head.
        width: factor on the 64 stem filters of the standard ResNet.
        units: number of bottleneck units in each of the four blocks.
        parameters: exact number of weights with a head of 1000 classes.
    """

    name: str
    depth: int
    width: float
    units: tuple[int, int, int, int]
    parameters: int

    @property
    def stem_filters(self) -> int:
        """Filters of the stem convolution, 64 * width."""
        return int(64 * self.width)

    @property
    def num_features(self) -> int:
        """Channels of the pooled features, 2048 * width."""
        return 8 * EXPANSION * self.stem_filters

    def bottleneck_filters(self, block: int) -> int:
        """Filters inside the units of `block` (1 to 4)."""
        return self.stem_filters * 2 ** (block - 1)


def _table(*rows: Variant) -> dict[str, Variant]:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise ValueError(f"variant names must be unique, got {[row.name for row in rows]}")
    return table


VARIANTS = _table(
    # Not in the paper: small enough to train on a CPU in minutes; 32 groups still divide every width.
    Variant("R17x0.5", 17, 0.5, (1, 2, 1, 1), 3_102_728),
    Variant("R50x1", 50, 1, (3, 4, 6, 3), 25_549_352),
    Variant("R101x1", 101, 1, (3, 4, 23, 3), 44_541_480),
    Variant("R50x3", 50, 3, (3, 4, 6, 3), 217_319_080),
    Variant("R101x3", 101, 3, (3, 4, 23, 3), 387_934_888),
    Variant("R152x2", 152, 2, (3, 8, 36, 3), 236_335_208),
    Variant("R152x4", 152, 4, (3, 8, 36, 3), 936_533_224),
)


def get_variant(name: str) -> Variant:
    """Returns the row called `name`; raises ValueError that lists all names if there is none."""
    if name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}; known variants: {', '.join(VARIANTS)}")
    return VARIANTS[name]
