"""Keras's SGD with momentum, in one pass over the weights on the tensorflow backend."""

import keras

from bit_keras.training import end_of_schedule


@keras.saving.register_keras_serializable(package="bit_keras")
class SGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` with the same numbers, to the rounding of float32.

    On the tensorflow backend an update is one operation that reads and writes weight and momentum once, instead of six.

    After a `fit` of any model it warns of updates that came after the end of its schedule.
    """

    def finalize_variable_values(self, var_list):
        super().finalize_variable_values(var_list)
        end_of_schedule.warn_after(self)

    def update_step(self, gradient, variable, learning_rate):
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
