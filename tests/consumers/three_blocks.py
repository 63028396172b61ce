"""Adds the variant "three_blocks", the smallest with the three stages that a detector reads."""

from bit_keras.zoo.variants import VARIANTS, Variant

VARIANTS["three_blocks"] = Variant("three_blocks", 0.5, (0, 1, 1, 1), 0)
