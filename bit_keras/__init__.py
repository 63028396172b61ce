"""Big Transfer (BiT) for Keras 3: networks, weights, the HyperRule, fine-tuning and export."""

from bit_keras.hyperrule import HyperRule
from bit_keras.model import BiT, load_weights, save_npz
from bit_keras.zoo import list_presets

__all__ = ["BiT", "HyperRule", "list_presets", "load_weights", "save_npz"]
