"""SGD with the weight decay of BiT's pre-training."""

import keras

from bit_keras.training.sgd import SGD


@keras.saving.register_keras_serializable(package="bit_keras")
class SGDWithL2(SGD):
    """SGD on the loss plus `l2` / 2 times the sum of the squares of all kernels.

    The gradient of that sum goes through the momentum, as in the paper's code; the `weight_decay` of Keras's
    optimizers does not. The loss that `fit` reports is without it. Scales, shifts and biases do not decay.

    Source: arXiv 1912.11370, section 3.2.

    Args:
        l2: weight decay, 0 or more; the paper's is 1e-4.
        **options: of keras.optimizers.SGD.

    Raises:
        ValueError: `l2` is less than 0.
    """

    def __init__(self, *args, l2: float = 1e-4, **options):
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
