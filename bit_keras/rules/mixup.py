"""MixUp (arXiv 1710.09412) as a callback for any `fit`."""

import math

import keras
from keras import ops

from bit_keras.rules.step_counter import inner_optimizer
from bit_keras.system.checks import known_arguments


class MixUp(keras.callbacks.Callback):
    """Trains on mixed images, lambda * image + (1 - lambda) * partner, with labels mixed in the same way.

    One lambda ~ Beta(alpha, alpha) is drawn per batch; the partners are a random permutation of the batch. Both are
    functions of (seed, step), so a resumed run draws the same as an uninterrupted one. Evaluation and prediction are
    not affected.

    With several devices: under tf.distribute each replica draws its own lambda and permutes its own shard of the
    batch, so the result depends on the number of replicas. On jax the batch is global, and the draws equal those of a
    single device; if several processes each load a shard of it, the order of its images and thus the partners differ.

    While `fit` runs, the callback wraps `model.train_step`, on every backend. Batches must be (images of floats,
    labels [N, classes] of floats), without sample weights.

    Args:
        alpha: of the Beta distribution, more than 0. BiT uses 0.1.
        seed: of the random numbers, in [0, 2**31).

    Raises:
        ValueError: `alpha` or `seed` is out of its range; in the first step, if batches are not as above.

    Example:
        >>> from bit_keras.rules import MixUp
        >>> images, labels = np.zeros((2, 32, 32, 3), "float32"), np.eye(2, dtype="float32")
        >>> mixed, targets = MixUp(1.0, seed=0).mix(images, labels, step=0)  # as in `fit(callbacks=[MixUp(1.0)])`
        >>> keras.ops.convert_to_numpy(targets).round(2)
        array([[0.72, 0.28],
               [0.28, 0.72]], dtype=float32)
    """

    @known_arguments
    def __init__(self, alpha: float, seed: int = 0):
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha must be more than 0, got {alpha}; leave MixUp out to train without it")
        if not 0 <= seed < 2**31:
            raise ValueError(f"seed must lie in [0, 2**31), got {seed}")
        self.alpha = alpha
        self.seed = seed

    def on_train_begin(self, logs=None):
        # Taken from the class: after an interrupted `fit` the instance still has that one's wrapper.
        unmixed_step = type(self.model).train_step.__get__(self.model)

        def train_step(*args):  # (data), and (state, data) on jax
            *state, data = args
            mixed = self.mix(*keras.utils.unpack_x_y_sample_weight(data), step=self._step(*state))
            return unmixed_step(*state, mixed)

        self.model.train_step = train_step
        self.model.make_train_function(force=True)

    def on_train_end(self, logs=None):
        del self.model.train_step
        self.model.make_train_function(force=True)

    def mix(self, images, labels, sample_weight=None, *, step):
        """Returns the mixed images and labels of a batch.

        Args:
            images: [N, H, W, 3], floats in [-1, 1].
            labels: one-hot or multi-hot [N, classes], floats.
            sample_weight: None.
            step: number of the batch, an integer or a tensor; the same one always has the same draws.

        Raises:
            ValueError: the images or labels are not as above, or there are sample weights.
        """
        if sample_weight is not None:
            raise ValueError("MixUp takes (images, labels), got sample weights as well")
        if labels is None or len(labels.shape) != 2 or not _is_float(labels) or not _is_float(images):
            raise ValueError(
                "MixUp needs images of floats and one-hot labels [N, classes] of floats, got "
                f"{_kind(images)} and {_kind(labels)}"
            )
        lam = symmetric_beta(self.alpha, *ops.unstack(_uniform(2, 2 * self.seed, step)))
        partner = ops.argsort(_uniform(ops.shape(images)[0], 2 * self.seed + 1, step))
        return tuple(_blend(x, ops.take(x, partner, axis=0), ops.cast(lam, x.dtype)) for x in (images, labels))

    def _step(self, state=None):
        """Returns the index of the draw from the optimizer's step count, inside the traced training step."""
        # Not `self.model`: on jax this property overwrites the current state with that of the previous step.
        optimizer = self._model.optimizer
        count = inner_optimizer(self._model)._iterations
        if state is None:
            replica, replicas = _replica()
            return count.value * replicas + ops.cast(replica, count.dtype)  # one draw per step and replica
        return state[2][next(i for i, variable in enumerate(optimizer.variables) if variable is count)]


def _uniform(count: int, seed: int, step):
    """Draws `count` uniform numbers in [0, 1), a pure function of (seed, step).

    They are scaled integers, because TensorFlow turns the same random bits into different floats under XLA.
    """
    integers = keras.random.randint((count,), 0, 2**24, seed=_StepSeed(seed, step))
    return ops.cast(integers, "float32") / 2**24


def symmetric_beta(alpha: float, u, v):
    """Maps two uniform numbers in [0, 1) to one from Beta(alpha, alpha), elementwise in float32.

    It works for any alpha, without rejection, with operations that XLA compiles on every device. `keras.random.beta`
    needs gamma variates, for which TensorFlow has no XLA kernel.

    t = sqrt(u^(-1 / alpha) - 1) * cos(2 pi v), times sqrt(2 alpha), has Student's distribution with 2 alpha degrees of
    freedom (R. W. Bailey, "Polar generation of random variates with the t-distribution", Math. Comp. 62, 1994), so that
    (1 + t / sqrt(1 + t^2)) / 2 is Beta(alpha, alpha) (L. Devroye, "Random variate generation in one line of code",
    1996). The latter equals sigmoid(2 arsinh(t)), which is accurate near 0.
    """
    # u may be 0, and u^(-1 / alpha) may overflow. At the bound the result is within 1e-34 of 0 or 1.
    power = ops.minimum(-ops.log(u) / alpha, 80.0)
    t = ops.sqrt(ops.expm1(power)) * ops.cos(2 * math.pi * v)
    return ops.sigmoid(2 * ops.arcsinh(t))


class _StepSeed(keras.random.SeedGenerator):
    """A seed that depends on (seed, step) only; Keras's own generator counts the draws instead."""

    def __init__(self, seed: int, step):  # the base class would create a state variable
        # torch's backend adds the two numbers: the factor makes (seed, step + 1) differ from (seed + 1, step).
        first = ops.cast(seed * 2_654_435_761 % 2**31, "int64" if keras.backend.backend() == "torch" else "uint32")
        self._pair = ops.stack([first, ops.cast(step, first.dtype)])

    def next(self, ordered=True):
        return self._pair


def _blend(a, b, lam):
    return lam * a + (1 - lam) * b


def _is_float(x) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))


def _kind(x) -> str:
    return "nothing" if x is None else f"{keras.backend.standardize_dtype(x.dtype)} {tuple(x.shape)}"


def _replica() -> tuple[int, int]:
    """Returns (index, count) of the replica for which the training step is traced."""
    if keras.backend.backend() != "tensorflow":
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group, context.num_replicas_in_sync
