"""Training on several devices: the numbers of one device, with a shard of every batch on each."""

from bit_keras.distribution.base import Distribution, DistributionError
from bit_keras.distribution.start import DISTRIBUTIONS, check_batch, count_devices, start_distribution

__all__ = [
    "DISTRIBUTIONS",
    "Distribution",
    "DistributionError",
    "check_batch",
    "count_devices",
    "start_distribution",
]
