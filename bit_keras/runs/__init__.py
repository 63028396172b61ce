"""What fine-tuning, pre-training and distillation have in common: settings, the folder of a run, `fit`, the outcome."""

from bit_keras.runs.config import RunConfig, check_choice, option
from bit_keras.runs.inception import inception_batches
from bit_keras.runs.opening import check_identity, make_config, open_folder, open_source, start
from bit_keras.runs.outcome import conclude
from bit_keras.runs.training_run import fit

__all__ = [
    "RunConfig",
    "check_choice",
    "check_identity",
    "conclude",
    "fit",
    "inception_batches",
    "make_config",
    "open_folder",
    "open_source",
    "option",
    "start",
]
