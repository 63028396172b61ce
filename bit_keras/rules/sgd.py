"""SGD with momentum, fused on the tensorflow backend and in place on torch, and SGD with the paper's weight decay."""

import keras

from bit_keras.rules import end_of_schedule
from bit_keras.system.checks import check_kind


@keras.saving.register_keras_serializable(package="bit_keras")
class SGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD`, with the same results up to the rounding of float32.

    On the tensorflow backend an update is one operation that reads and writes weight and momentum once; Keras uses
    six operations. On torch it is three operations in place.

    At the end of a `fit` of any model it warns if updates were made after the end of its schedule.

    Args:
        learning_rate: a number, 0 or more, or a schedule; momentum and all other arguments are those of
            `keras.optimizers.SGD`, too.

    Raises:
        ValueError: as `keras.optimizers.SGD`: the momentum is not in [0, 1], or an argument is unknown.

    Example:
        >>> from bit_keras.rules import SGD
        >>> model = bit_keras.BiT("R17x0.5", num_classes=2)
        >>> model.compile(SGD(0.003, momentum=0.9), keras.losses.CategoricalCrossentropy(from_logits=True))
    """

    def finalize_variable_values(self, var_list):
        super().finalize_variable_values(var_list)
        end_of_schedule.warn_after(self)

    def add_variable_from_reference(self, reference_variable, *args, **options):
        variable = super().add_variable_from_reference(reference_variable, *args, **options)
        if keras.backend.backend() == "torch":
            import torch

            # In the order in memory of the weight, which for kernels is not that of their axes.
            value = variable.value
            value.data = torch.empty_like(reference_variable.value, dtype=value.dtype).copy_(value.data)
        return variable

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() == "torch" and self.momentum and not self.nesterov:
            self._update_in_place(gradient, variable, learning_rate)
            return
        if keras.backend.backend() != "tensorflow" or not self.momentum:
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        momentum = self.momentums[self._get_variable_index(variable)].value
        if tf.distribute.has_strategy() or isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, learning_rate)
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=momentum.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def _update_in_place(self, gradient, variable, learning_rate):
        import torch

        momentum = self.momentums[self._get_variable_index(variable)].value
        gradient, learning_rate = (keras.ops.cast(x, variable.dtype) for x in (gradient, learning_rate))
        with torch.no_grad():
            momentum.mul_(self.momentum).addcmul_(gradient, learning_rate, value=-1)
            variable.value.add_(momentum)


@keras.saving.register_keras_serializable(package="bit_keras")
class SGDWithL2(SGD):
    """SGD on the loss plus an L2 penalty: `l2` / 2 times the sum of the squares of all kernels.

    The gradient of the penalty enters the momentum, as in the paper's code, unlike the `weight_decay` of Keras's
    optimizers. The loss that `fit` reports does not include the penalty. Scales, shifts and biases do not decay.

    Source: arXiv 1912.11370, section 3.2.

    Args:
        l2: weight decay, 0 or more; the paper uses 1e-4.
        *args: arguments of keras.optimizers.SGD, before `l2`.
        **options: its other arguments.

    Raises:
        ValueError: `l2` is less than 0, or as `SGD`.
        TypeError: `l2` is not a number.

    Example:
        >>> from bit_keras.rules import SGDWithL2
        >>> model = bit_keras.BiT("R17x0.5", num_classes=2)
        >>> optimizer = SGDWithL2(0.03, momentum=0.9, l2=1e-4)
        >>> model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True))
    """

    def __init__(self, *args, l2: float = 1e-4, **options):
        l2 = check_kind("l2", l2, float)
        if l2 < 0:
            raise ValueError(f"l2 must be 0 or more, got {l2}")
        super().__init__(*args, **options)
        self.l2 = l2

    def apply(self, grads, trainable_variables=None):
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        grads = [
            gradient + self.l2 * variable if variable.name == "kernel" else gradient
            for gradient, variable in zip(grads, variables, strict=True)
        ]
        return super().apply(grads, trainable_variables)

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}
