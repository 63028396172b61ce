"""MixUp (arXiv 1710.09412) as a callback of any `fit`."""

import math

import keras
from keras import ops


class MixUp(keras.callbacks.Callback):
    """Trains on pairs of images: share * a + (1 - share) * b, and their labels likewise.

    One share ~ Beta(alpha, alpha) for a batch; the partners are a random permutation of the batch. Both are
    functions of (seed, step), so a restored run draws what an uninterrupted one would. Evaluation and prediction
    are left alone.

    On several devices: under tf.distribute each replica has a share of its own for its part of the batch, and partners
    from this part, so that the numbers depend on how many replicas there are. On jax the batch is one, with the numbers
    of one device; where several processes deliver it in parts one after another, an image has other partners.

    The callback stands in front of `model.train_step` while `fit` runs, on every backend. The model's batches must
    be (images of floats, labels [N, classes] of floats), without sample weights.

    Args:
        alpha: of the Beta distribution, more than 0. BiT uses 0.1.
        seed: of the random numbers, 0 or more.

    Raises:
        ValueError: `alpha` or `seed` is out of its range; in the first step, when batches are not as above.
    """

    def __init__(self, alpha: float, seed: int = 0):
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha must be more than 0, got {alpha}; leave MixUp out to train without it")
        if not 0 <= seed < 2**31:
            raise ValueError(f"seed must lie in [0, 2**31), got {seed}")
        self.alpha = alpha
        self.seed = seed

    def on_train_begin(self, logs=None):
        # From the class: after an interrupted fit the instance still holds the wrapper of that time.
        plain_step = type(self.model).train_step.__get__(self.model)

        def train_step(*args):  # (data), and (state, data) on jax
            *state, data = args
            mixed = self.mix(*keras.utils.unpack_x_y_sample_weight(data), step=self._step(*state))
            return plain_step(*state, mixed)

        self.model.train_step = train_step
        self.model.make_train_function(force=True)

    def on_train_end(self, logs=None):
        del self.model.train_step
        self.model.make_train_function(force=True)

    def mix(self, images, labels, sample_weight=None, *, step):
        """Returns the mixed (images, labels) of the batch of `step`."""
        if sample_weight is not None:
            raise ValueError("MixUp takes (images, labels), got sample weights as well")
        if labels is None or len(labels.shape) != 2 or not _is_float(labels) or not _is_float(images):
            raise ValueError(
                "MixUp needs images of floats and one-hot labels [N, classes] of floats, got "
                f"{_kind(images)} and {_kind(labels)}"
            )
        share = symmetric_beta(self.alpha, *ops.unstack(_uniform(2, 2 * self.seed, step)))
        partner = ops.argsort(_uniform(ops.shape(images)[0], 2 * self.seed + 1, step))
        return tuple(_blend(x, ops.take(x, partner, axis=0), ops.cast(share, x.dtype)) for x in (images, labels))

    def _step(self, state=None):
        """Number of the draw: steps that the optimizer has made, inside the traced step."""
        # Not `self.model`: on jax it writes the last step's state back into the variables, and this step's is lost.
        optimizer = self._model.optimizer
        count = getattr(optimizer, "inner_optimizer", optimizer)._iterations
        if state is None:
            number, replicas = _replica()
            return count.value * replicas + ops.cast(number, count.dtype)  # a draw for each step and replica
        return state[2][next(i for i, variable in enumerate(optimizer.variables) if variable is count)]


def _uniform(count: int, seed: int, step):
    """Draws `count` uniform numbers of [0, 1), a function of (seed, step) alone.

    By way of integers: from the same random bits TensorFlow makes other floats in an XLA program than outside of one.
    """
    integers = keras.random.randint((count,), 0, 2**24, seed=_StepSeed(seed, step))
    return ops.cast(integers, "float32") / 2**24


def symmetric_beta(alpha: float, u, v):
    """Turns two uniform numbers of [0, 1) into one of Beta(alpha, alpha), elementwise in float32.

    For any alpha, without rejection and by operations that XLA compiles on every device. `keras.random.beta` divides
    gamma variates, for which TensorFlow has no XLA kernel.

    t = sqrt(u^(-1 / alpha) - 1) * cos(2 pi v), times sqrt(2 alpha), has Student's distribution with 2 alpha degrees of
    freedom (R. W. Bailey, "Polar generation of random variates with the t-distribution", Math. Comp. 62, 1994), so that
    (1 + t / sqrt(1 + t^2)) / 2 is Beta(alpha, alpha) (L. Devroye, "Random variate generation in one line of code",
    1996). The latter equals sigmoid(2 arsinh(t)), which loses no digits near 0.
    """
    # u may be 0, and u^(-1 / alpha) overflow: beyond the bound the result is less than 1e-34 from 0 or 1.
    power = ops.minimum(-ops.log(u) / alpha, 80.0)
    t = ops.sqrt(ops.expm1(power)) * ops.cos(2 * math.pi * v)
    return ops.sigmoid(2 * ops.arcsinh(t))


class _StepSeed(keras.random.SeedGenerator):
    """Draws the same numbers at the same (seed, step); Keras's own seed generator counts draws instead."""

    def __init__(self, seed: int, step):  # no state, so nothing of the base class to set up
        # torch adds the two numbers up: the factor keeps (seed, step + 1) and (seed + 1, step) apart.
        first = ops.cast(seed * 2_654_435_761 % 2**31, "int64" if keras.backend.backend() == "torch" else "uint32")
        self._pair = ops.stack([first, ops.cast(step, first.dtype)])

    def next(self, ordered=True):
        return self._pair


def _blend(a, b, share):
    return share * a + (1 - share) * b


def _is_float(x) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))


def _kind(x) -> str:
    return "nothing" if x is None else f"{keras.backend.standardize_dtype(x.dtype)} {tuple(x.shape)}"


def _replica() -> tuple[int, int]:
    """Returns (number, count) of the replica whose part of the batch a training step is traced for."""
    if keras.backend.backend() != "tensorflow":
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group, context.num_replicas_in_sync
