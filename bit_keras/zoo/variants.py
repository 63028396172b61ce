"""Table of BiT architectures: ResNet-v2 with GroupNorm and weight standardization.

Source: "Big Transfer (BiT)", arXiv 1912.11370, section 3.1 and appendix B.
"""

import dataclasses
from collections.abc import Iterator

# Outputs per bottleneck filter of a residual unit (ResNet, arXiv 1512.03385).
EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class UnitRow:
    """One residual unit: 1x1, 3x3 and 1x1 convolution, plus the shortcut.

    Attributes:
        block: 1 to 4.
        unit: position in the block, from 1, as in the official names.
        strides: of the 3x3 convolution and of the projection.
        inputs: channels of the input.
        filters: of the first two convolutions, the bottleneck.
        outputs: channels of the output, EXPANSION * filters.
        has_projection: whether the shortcut is a 1x1 convolution, else the identity.
    """

    block: int
    unit: int
    strides: int
    inputs: int
    filters: int
    outputs: int
    has_projection: bool


@dataclasses.dataclass(frozen=True)
class Variant:
    """One architecture.

    Attributes:
        name: what users write, for example "R50x1": 50 layers, 3 per unit plus stem and head, of width 1.
        width: factor on the 64 stem filters of the standard ResNet.
        units: number of bottleneck units in each of the four blocks.
        parameters: exact number of weights with a head of 1000 classes.
    """

    name: str
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

    def unit_rows(self) -> Iterator[UnitRow]:
        """Yields the residual units in the order of the network.

        The layers of the network, their official names, the shapes of their weights and the estimate of memory follow
        from these rows, the stem and `num_features`.

        Example:
            >>> rows = list(get_variant("R50x1").unit_rows())
            >>> rows[0]
            UnitRow(block=1, unit=1, strides=1, inputs=64, filters=64, outputs=256, has_projection=True)
            >>> rows[3]
            UnitRow(block=2, unit=1, strides=2, inputs=256, filters=128, outputs=512, has_projection=True)
        """
        inputs = self.stem_filters
        for block, units in enumerate(self.units, start=1):
            filters = self.bottleneck_filters(block)
            outputs = EXPANSION * filters
            for unit in range(1, units + 1):
                is_first = unit == 1
                strides = 2 if is_first and block > 1 else 1
                yield UnitRow(block, unit, strides, inputs, filters, outputs, has_projection=is_first)
                inputs = outputs


def _table(*rows: Variant) -> dict[str, Variant]:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise ValueError(f"variant names must be unique, got {[row.name for row in rows]}")
    return table


VARIANTS = _table(
    # Not in the paper: small enough to train on a CPU in minutes; 32 groups still divide every width.
    Variant("R17x0.5", 0.5, (1, 2, 1, 1), 3_102_728),
    Variant("R50x1", 1, (3, 4, 6, 3), 25_549_352),
    Variant("R101x1", 1, (3, 4, 23, 3), 44_541_480),
    Variant("R50x3", 3, (3, 4, 6, 3), 217_319_080),
    Variant("R101x3", 3, (3, 4, 23, 3), 387_934_888),
    Variant("R152x2", 2, (3, 8, 36, 3), 236_335_208),
    Variant("R152x4", 4, (3, 8, 36, 3), 936_533_224),
)


def get_variant(name: str) -> Variant:
    """Returns the row called `name`; raises ValueError that lists all names if none has it."""
    if not isinstance(name, str) or name not in VARIANTS:
        raise ValueError(f"unknown variant {name!r}; known variants: {', '.join(VARIANTS)}")
    return VARIANTS[name]
