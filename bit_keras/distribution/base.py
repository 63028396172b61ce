"""What a training asks of the devices and processes that it is spread over."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import keras
import numpy as np

_T = TypeVar("_T")


class DistributionError(Exception):
    """Devices or workers of a training do not come together."""


class Distribution:
    """How a training is spread over devices and processes ("workers"). This class is one device; engines extend it.

    Workers wait for each other in `in_turn`, `maximum`, in steps and in predictions: all must call these in one order.

    Attributes:
        num_devices: of all workers together.
        is_chief: whether this worker is the one that writes.
        mixup_parts: in how many parts, each by itself or one after another, MixUp sees a batch; its pairs depend on it.
    """

    num_devices = 1
    is_chief = True
    mixup_parts = 1

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context in which a model is built, compiled, restored and fitted."""
        return contextlib.nullcontext()

    def feed(self, make: Callable, batch_size: int):
        """Returns what `fit` takes.

        Args:
            make: function from `shard=`, as `bit_keras.data.train_batches` has it, to a dataset of batches.
            batch_size: images per batch of all shards together.
        """
        return make(shard=(0, 1))

    def predictor(self, model: keras.Model):
        """Returns an object whose `predict_on_batch(images)`, for any number of images, uses all devices."""
        return model

    def plain(self, model: keras.Model) -> keras.Model:
        """Returns the model, or a copy of it where its variables belong to several devices."""
        if self.num_devices == 1:
            return model
        copy = type(model).from_config(model.get_config())
        copy.set_weights(model.get_weights())
        return copy

    def _filled(self, images: np.ndarray) -> np.ndarray:
        """Returns a batch that the devices can share: where it is too small, it ends with images from its front."""
        size = -(-len(images) // self.num_devices) * self.num_devices
        return np.resize(images, (size, *images.shape[1:]))

    def maximum(self, number: int) -> int:
        """Returns the largest of the workers' numbers, each in [-2**31, 2**31), to all of them."""
        return number

    def check_equal(self, number: int, rule: str) -> None:
        """Raises DistributionError, "all workers must" and the rule, unless the number is the same on all workers."""
        if self.maximum(number) != -self.maximum(-number):
            raise DistributionError(f"all workers must {rule}")

    def everywhere(self, function: Callable[[], _T]) -> _T:
        """Calls a function on the chief and then, where it may find what the chief has downloaded, on the others.

        Args:
            function: what all of them do.

        Returns, raises: as `in_turn`.
        """
        return self.in_turn(function, function)

    def in_turn(self, on_chief: Callable[[], _T], on_others: Callable[[], _T | None] = lambda: None) -> _T | None:
        """Calls one function on the chief and then the other one on the other workers.

        Returns:
            What the function of this worker returned.

        Raises:
            DistributionError: it failed on another worker. Where it failed itself, its own error is raised, once the
                others know: Ctrl-C and exits, too.
        """
        result = None
        for function, is_mine in ((on_chief, self.is_chief), (on_others, not self.is_chief)):
            error = None
            if is_mine:
                try:
                    result = function()
                except BaseException as caught:  # the others must hear of it
                    error = caught
            has_failed = self.maximum(error is not None)
            if error is not None:
                raise error
            if has_failed:
                raise DistributionError("another worker has failed, and its message says why; all of them end")
        return result
