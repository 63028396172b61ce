"""What a BiT and a detector have in common: the card of their weights, and warnings of wrong use."""

import dataclasses
import functools
import inspect

import keras

from bit_keras.network import execution
from bit_keras.network.input_range import RangeCheck
from bit_keras.network.prediction_jax import JaxPrediction
from bit_keras.rules import skip_on_all_devices, with_schedule_end
from bit_keras.system.checks import WrongType, check_kind, describe
from bit_keras.zoo.variants import Variant

# Position of the callbacks among the arguments of `fit`, without self.
_CALLBACKS = list(inspect.signature(keras.Model.fit).parameters).index("callbacks") - 1


class Network(JaxPrediction, keras.Model):
    """Base class of functional networks on a backbone.

    Subclasses set `backbone`, a `Backbone`, and `card`, a `bit_keras.checkpoints.card.Card`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._range_check = RangeCheck()

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the outputs in their order, from the card; None where they are not known."""
        return self.card.class_names

    @property
    def resolution(self) -> int | None:
        return self.card.resolution

    @resolution.setter
    def resolution(self, pixels: int | None) -> None:
        self.card = dataclasses.replace(self.card, resolution=pixels)

    @property
    def variant(self) -> Variant:
        """The row of `bit_keras.zoo.variants` that this network was built from."""
        return self.backbone.variant

    @property
    def variant_name(self) -> str:
        """Name of the variant."""
        return self.variant.name

    # In addition to Keras, these warn once of images outside of [-1, 1]. Their own graphs have no values to look at.

    def call(self, inputs, training=None, mask=None):
        if not training:
            self._range_check.look(inputs)
        return super().call(inputs, training=training, mask=mask)

    @functools.wraps(keras.Model.predict)
    def predict(self, x, *args, **kwargs):
        self._range_check.look(x)
        return super().predict(x, *args, **kwargs)

    @functools.wraps(keras.Model.predict_on_batch)
    def predict_on_batch(self, x):
        self._range_check.look(x)
        return super().predict_on_batch(x)

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **kwargs):
        # In addition to Keras: warns where the schedule of the optimizer ends before this training does.
        if len(args) > _CALLBACKS:
            args = (*args[:_CALLBACKS], with_schedule_end(args[_CALLBACKS], **kwargs), *args[_CALLBACKS + 1 :])
        else:
            kwargs["callbacks"] = with_schedule_end(**kwargs)
        skip_on_all_devices(getattr(self, "optimizer", None))  # None: not compiled, which Keras reports
        try:
            return super().fit(*args, **kwargs)
        finally:
            execution.free_gradients()


def check_arguments(remat, name, trainable=True) -> None:
    """Raises TypeError unless the arguments that all networks have are of their types."""
    # Not by a decorator of `__init__`, whose signature tells Keras how to clone a network.
    for argument, value, kind in (("remat", remat, bool), ("name", name, str | None), ("trainable", trainable, bool)):
        check_kind(argument, value, kind)


def policy_of(dtype):
    """Returns the dtype policy for the argument `dtype` of a network; raises TypeError for what is none."""
    try:
        return keras.dtype_policies.get(dtype)
    except (TypeError, ValueError) as error:
        raise WrongType(
            f'dtype must be a dtype policy or its name, such as "mixed_bfloat16"; got {describe(dtype)}'
        ) from error


def frozen_names(layers) -> list[str]:
    """Returns the names of the layers with weights that do not train, for a configuration."""
    return [layer.name for layer in layers if layer.weights and not layer.trainable]


def freeze_named(layers, names: list[str]) -> None:
    """Makes the layers of these names untrainable, the inverse of `frozen_names`."""
    for layer in layers:
        if layer.name in names:
            layer.trainable = False
