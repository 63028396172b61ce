"""Training on several devices: each trains on a shard of every batch, with the results of one device."""

from bit_keras.distribution.base import Distribution, DistributionError
from bit_keras.distribution.start import (
    DISTRIBUTIONS,
    check_batch,
    count_devices,
    has_other_workers,
    mixup_parts,
    start_distribution,
)
from bit_keras.distribution.sums import sum_over_devices

__all__ = [
    "DISTRIBUTIONS",
    "Distribution",
    "DistributionError",
    "check_batch",
    "count_devices",
    "has_other_workers",
    "mixup_parts",
    "start_distribution",
    "sum_over_devices",
]
