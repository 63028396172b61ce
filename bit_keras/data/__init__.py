"""Images and labels: sources that open the data, and batches for training and evaluation."""

from bit_keras.data.batches import LOADERS, choose_loader, test_batches, test_names, train_batches, train_names
from bit_keras.data.errors import DataError
from bit_keras.data.loading import load
from bit_keras.data.source import Source
from bit_keras.data.sources.arrays import from_arrays

__all__ = [
    "LOADERS",
    "DataError",
    "Source",
    "choose_loader",
    "from_arrays",
    "load",
    "test_batches",
    "test_names",
    "train_batches",
    "train_names",
]
