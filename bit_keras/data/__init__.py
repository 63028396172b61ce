"""Images and labels: sources that open the data, and the batches that training and evaluation read."""

from bit_keras.data.arrays import from_arrays
from bit_keras.data.errors import DataError
from bit_keras.data.loading import load
from bit_keras.data.pipeline import test_batches, train_batches
from bit_keras.data.source import Source

__all__ = ["DataError", "Source", "from_arrays", "load", "test_batches", "train_batches"]
