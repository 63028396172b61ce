"""The state of a training run in one file."""

import os
from pathlib import Path

import keras

from bit_keras.files import whole


class Checkpoint(keras.callbacks.Callback):
    """Writes weights and optimizer after every epoch; the file is replaced whole.

    Args:
        path: the file, which must end in ".weights.h5".

    Raises:
        ValueError: another ending.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = Path(path)
        if not self.path.name.endswith(".weights.h5"):
            raise ValueError(f'the name of a checkpoint must end in ".weights.h5", got {str(path)!r}')

    def restore(self, model: keras.Model) -> int:
        """Sets weights and optimizer of a compiled model from the file, if there is one.

        Returns:
            Steps that the optimizer has made, 0 without a file.
        """
        model.optimizer.build(model.trainable_variables)
        if self.path.is_file():
            model.load_weights(self.path)
        return int(model.optimizer.iterations)

    def on_epoch_end(self, epoch, logs=None):
        with whole(self.path) as temporary:
            self.model.save_weights(temporary)
