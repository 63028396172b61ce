"""What fine-tuning, pre-training and distillation have in common: settings, the folder of a run, `fit`, the outcome."""

from bit_keras.runs.batches import make_batches
from bit_keras.runs.config import RunConfig, option
from bit_keras.runs.inception import InceptionConfig
from bit_keras.runs.network import choose_head, open_network
from bit_keras.runs.opening import check_identity, log_plan, make_config, open_folder, open_source, start
from bit_keras.runs.outcome import conclude
from bit_keras.runs.training_run import fit

__all__ = [
    "InceptionConfig",
    "RunConfig",
    "check_identity",
    "choose_head",
    "conclude",
    "fit",
    "log_plan",
    "make_batches",
    "make_config",
    "open_folder",
    "open_network",
    "open_source",
    "option",
    "start",
]
