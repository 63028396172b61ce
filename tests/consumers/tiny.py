"""Adds the variant "tiny": one residual unit, which TensorFlow traces in a third of the time of R17x0.5.

For tests that train or export a network whose architecture does not matter.
"""

from bit_keras.zoo.variants import VARIANTS, Variant

VARIANTS["tiny"] = Variant("tiny", 0.5, (0, 0, 0, 1), 1_925_768)
