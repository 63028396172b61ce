"""The interface between a training and the devices and processes that it is distributed over."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import keras
import numpy as np

_T = TypeVar("_T")


class DistributionError(Exception):
    """The devices or workers of a training cannot train together.

    Example:
        >>> from bit_keras.distribution import DistributionError, start_distribution
        >>> try:
        ...     distribution = start_distribution("mirrored")
        ... except DistributionError as error:  # for example because this process has already computed something
        ...     print(error)
    """


# Message of an engine that has lost a worker.
LOST = (
    "another worker is lost: it was killed, has failed or cannot be reached any more; its own message, if it printed "
    "one, states the reason. Start all workers again with the same command: they resume from the last checkpoint"
)


class Distribution:
    """How a training is distributed over devices and processes ("workers").

    This base class is a single device; engines extend it. Workers wait for each other in `in_turn`, `maximum`,
    training steps and predictions: all must call these in the same order. These, and what is done in `scope`, raise
    DistributionError if another worker is lost.

    Attributes:
        num_devices: number of devices of all workers together.
        is_chief: whether this worker writes files.
        mixup_parts: number of shards of a batch that MixUp permutes separately (replicas under tf.distribute) or that
            are loaded separately (processes on jax); the partners depend on it.

    Example:
        >>> from bit_keras.distribution import Distribution
        >>> one = Distribution()
        >>> one.num_devices, one.is_chief, one.mixup_parts
        (1, True, 1)
        >>> one.in_turn(lambda: "the chief downloads", lambda: "the others find the file")
        'the chief downloads'
    """

    num_devices = 1
    is_chief = True
    mixup_parts = 1

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context in which a model is built, compiled, restored and fitted."""
        return contextlib.nullcontext()

    def feed(self, make: Callable, batch_size: int):
        """Returns the batches for `fit`.

        Args:
            make: function of `shard=`, as in `bit_keras.data.train_batches`, that returns the batches of that shard.
            batch_size: images per batch, all shards together.
        """
        return make(shard=(0, 1))

    def predictor(self, model: keras.Model):
        """Returns an object whose `predict_on_batch(images)` uses all devices, for any number of images.

        It returns the model's outputs as arrays, in a dict if the model has several.
        """
        return model

    def plain(self, model: keras.Model) -> keras.Model:
        """Returns the model, or a copy on one device if its variables are distributed over several."""
        if self.num_devices == 1:
            return model
        copy = type(model).from_config(model.get_config())
        copy.set_weights(model.get_weights())
        return copy

    def _padded(self, images: np.ndarray) -> np.ndarray:
        """Returns a batch that the devices can divide equally, padded with its own first images where needed."""
        size = -(-len(images) // self.num_devices) * self.num_devices
        return np.resize(images, (size, *images.shape[1:]))

    def maximum(self, number: int) -> int:
        """Returns the largest of the numbers of all workers, each in [-2**31, 2**31)."""
        return number

    def check_equal(self, number: int, rule: str) -> None:
        """Raises DistributionError with "all workers must {rule}" unless the number is equal on all workers."""
        if self.maximum(number) != -self.maximum(-number):
            raise DistributionError(f"all workers must {rule}")

    def everywhere(self, function: Callable[[], _T]) -> _T:
        """Calls a function on the chief and then on the other workers, which find what the chief has downloaded.

        Returns, raises: as `in_turn`.
        """
        return self.in_turn(function, function)

    def in_turn(self, on_chief: Callable[[], _T], on_others: Callable[[], _T | None] = lambda: None) -> _T | None:
        """Calls one function on the chief, and after that another one on the other workers.

        Returns:
            The result of the function on this worker.

        Raises:
            DistributionError: the function failed on another worker, or one is lost. If it failed on this one, its own
                error is raised, after the other workers are notified; this includes Ctrl-C and exits.
        """
        result = None
        for function, is_mine in ((on_chief, self.is_chief), (on_others, not self.is_chief)):
            error = None
            if is_mine:
                try:
                    result = function()
                except BaseException as caught:  # the other workers must be notified
                    error = caught
            try:
                has_failed = self.maximum(error is not None)
            finally:
                if error is not None:  # more important than that others could not be notified
                    raise error
            if has_failed:
                raise DistributionError(
                    "another worker has failed, and its message states the reason; all workers stop"
                )
        return result
