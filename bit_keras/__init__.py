"""Big Transfer (BiT) for Keras 3: networks, weights, the HyperRule, fine-tuning and export."""

# ruff: noqa: E402
from bit_keras.system import startup, version

startup.import_backend()  # before any import below uses it

from bit_keras import finetune, predict
from bit_keras.finetune import FinetuneResult
from bit_keras.network.class_names import class_names, decode_predictions
from bit_keras.network.folding import folded
from bit_keras.network.model import BiT, load_weights, save_npz
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.saved_models.export import export_saved_model
from bit_keras.saved_models.layer import SavedModelLayer
from bit_keras.zoo.presets import list_presets
from bit_keras.zoo.tasks import list_tasks

__version__ = version.VERSION

__all__ = [
    "BiT",
    "FinetuneResult",
    "HyperRule",
    "SavedModelLayer",
    "class_names",
    "decode_predictions",
    "export_saved_model",
    "finetune",
    "folded",
    "list_presets",
    "list_tasks",
    "load_weights",
    "predict",
    "save_npz",
]
