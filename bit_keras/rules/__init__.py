"""The BiT-HyperRule, schedules and optimizers: as records of numbers, and as Keras objects for any `fit`."""

from bit_keras.rules.callbacks import HyperRuleCallback, ScheduleEnd, rule_callbacks, with_schedule_end
from bit_keras.rules.hyperrule import HyperRule
from bit_keras.rules.keras_schedules import WarmupThenCosine, WarmupThenDrops, in_graph
from bit_keras.rules.loss_scale import skip_on_all_devices
from bit_keras.rules.mixup import MixUp
from bit_keras.rules.schedules import CosineSchedule, Schedule, upstream_schedule
from bit_keras.rules.sgd import SGD, SGDWithL2
from bit_keras.rules.step_counter import StepCounter, steps_made

__all__ = [
    "SGD",
    "CosineSchedule",
    "HyperRule",
    "HyperRuleCallback",
    "MixUp",
    "SGDWithL2",
    "Schedule",
    "ScheduleEnd",
    "StepCounter",
    "WarmupThenCosine",
    "WarmupThenDrops",
    "in_graph",
    "rule_callbacks",
    "skip_on_all_devices",
    "steps_made",
    "upstream_schedule",
    "with_schedule_end",
]
