import itertools

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from bit_keras.rules import MixUp
from bit_keras.rules.mixup import _uniform, symmetric_beta

pytestmark = pytest.mark.any_backend

NUMBERS = np.arange(8, dtype="float32")
# All pixels of image i are i, and its class is i: lambda and partner can be read from a mixed image.
IMAGES = np.broadcast_to(NUMBERS[:, None, None, None], (8, 2, 2, 3)).copy()
LABELS = np.eye(8, dtype="float32")


def mix(step, seed=0, alpha=0.1):
    mixed = MixUp(alpha, seed).mix(ops.convert_to_tensor(IMAGES), ops.convert_to_tensor(LABELS), step=step)
    return [ops.convert_to_numpy(x) for x in mixed]


def lambda_and_partner(labels):
    """Returns (lambda, partner [N]), as read from mixed one-hot labels."""
    off_diagonal = labels * (1 - LABELS)
    partner = np.where(off_diagonal.any(axis=1), off_diagonal.argmax(axis=1), np.arange(8))
    own = np.diag(labels)[partner != np.arange(8)]
    return own[0], partner


@pytest.mark.parametrize("step", range(5))
def test_one_lambda_and_a_permutation_for_images_and_labels(step):
    images, labels = mix(step, alpha=5.0)
    lam, partner = lambda_and_partner(labels)
    assert 0 < lam < 1
    assert sorted(partner) == list(range(8))
    expected = lam * LABELS + (1 - lam) * LABELS[partner]
    np.testing.assert_allclose(labels, expected, atol=1e-6)
    np.testing.assert_allclose(images, lam * IMAGES + (1 - lam) * IMAGES[partner], atol=1e-5)


def test_is_a_function_of_seed_and_step():
    np.testing.assert_array_equal(mix(3, seed=1)[0], mix(3, seed=1)[0])
    assert not np.array_equal(mix(3, seed=1, alpha=5.0)[0], mix(4, seed=1, alpha=5.0)[0])
    assert not np.array_equal(mix(4, seed=0, alpha=5.0)[0], mix(3, seed=1, alpha=5.0)[0])


def draw(seed, count):
    """Returns the two uniform numbers of the first `count` steps, [2, count], compiled on tensorflow."""

    def draw_all(steps):
        return ops.map(lambda step: _uniform(2, seed, step), steps)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        draw_all = tf.function(draw_all, jit_compile=True)
    return ops.transpose(draw_all(ops.arange(count)))


@pytest.fixture(scope="module")
def uniform():
    return draw(seed=0, count=10_000)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.2, 1.0, 10.0])
def test_shares_follow_the_beta_distribution(uniform, alpha):
    shares = ops.convert_to_numpy(symmetric_beta(alpha, *uniform))
    assert shares.dtype == "float32"
    expected = stats.beta(alpha, alpha)
    assert np.mean(shares) == pytest.approx(0.5, abs=4 * expected.std() / 100)
    assert np.var(shares) == pytest.approx(expected.var(), rel=0.05)
    others = expected.rvs(200_000, random_state=1).astype("float32")
    # The spacing of float32 is larger near 1 than near 0: numbers that are rounded to 1 are compared as one.
    assert stats.ks_2samp(np.round(shares, 6), np.round(others, 6)).pvalue > 0.01


def test_draws_of_steps_and_seeds_are_independent(uniform):
    first, other_seed = (ops.convert_to_numpy(x)[:, :2_000] for x in (uniform, draw(seed=1, count=2_000)))
    np.testing.assert_array_equal(draw(seed=0, count=2_000), first)
    numbers = [*first, *other_seed]
    for a, b in [*itertools.combinations(numbers, 2), *((x[1:], x[:-1]) for x in numbers)]:
        assert np.mean(a == b) < 0.01
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(2_000)


@pytest.mark.parametrize("alpha", [0.001, 0.1, 1.0, 1000.0])
def test_no_pair_of_uniform_numbers_makes_a_nan(alpha):
    ends = np.array([0, 2**-24, 0.25, 0.5, 0.75, 1 - 2**-24], "float32")
    shares = ops.convert_to_numpy(symmetric_beta(alpha, *map(ops.convert_to_tensor, np.meshgrid(ends, ends))))
    assert ((shares >= 0) & (shares <= 1)).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA kernels are TensorFlow's")
def test_xla_compiles_the_draw_and_draws_the_same():
    import tensorflow as tf

    mixup = MixUp(0.5, seed=3)
    compiled = tf.function(lambda step: mixup.mix(IMAGES, LABELS, step=step), jit_compile=True)
    for step in map(tf.constant, range(5)):
        for a, b in zip(mixup.mix(IMAGES, LABELS, step=step), compiled(step), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the compiler's first half, which needs no GPU, is jax's")
def test_the_draw_is_lowered_for_gpus_and_tpus():
    import jax

    traced = jax.jit(lambda step: MixUp(0.1).mix(IMAGES, LABELS, step=step)).trace(0)
    traced.lower(lowering_platforms=("cuda", "rocm", "tpu"))


class Recorder(keras.Model):
    """Sums the images of its training steps, with weights that make the sum depend on their order."""

    def build(self, input_shape):
        self.seen = self.add_weight(shape=(8, 3), trainable=False, initializer="zeros")
        self.kernel = self.add_weight(shape=(8,), initializer="zeros")

    def call(self, images, training=False):
        means = ops.mean(images, axis=(1, 2))
        if training:
            self.seen.assign(self.seen + means)
        return means[:, :1] * self.kernel


def fit(callbacks, batches=3, model=None, **options):
    model = model or Recorder()
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), **options)
    images, labels = np.tile(IMAGES, (batches, 1, 1, 1)), np.tile(LABELS, (batches, 1))
    model.fit(images, labels, batch_size=8, shuffle=False, callbacks=callbacks, verbose=0)
    return model


@pytest.mark.parametrize("options", [{}, {"steps_per_execution": 3}, {"jit_compile": False}, {"run_eagerly": True}])
def test_fit_sees_the_mixed_batch_of_every_step(options):
    if "steps_per_execution" in options and keras.backend.backend() == "torch":
        pytest.skip("Keras has no steps_per_execution on torch")
    model = fit([MixUp(5.0, seed=2)], **options)
    assert int(model.optimizer.iterations) == 3
    expected = sum(mix(step, seed=2, alpha=5.0)[0][:, 0, 0] for step in range(3))
    np.testing.assert_allclose(ops.convert_to_numpy(model.seen), expected, rtol=1e-5)


def test_evaluation_and_later_training_are_not_mixed():
    model = fit([MixUp(5.0)])
    loss = model.evaluate(IMAGES, LABELS, verbose=0)
    logits = IMAGES[:, 0, 0, :1] * ops.convert_to_numpy(model.kernel)
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - (logits * LABELS).sum(axis=1))
    assert loss == pytest.approx(expected, rel=1e-5)
    before = ops.convert_to_numpy(model.seen)
    fit([], batches=1, model=model)
    np.testing.assert_allclose(ops.convert_to_numpy(model.seen) - before, IMAGES[:, 0, 0], atol=1e-4)


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


def test_an_interrupted_fit_does_not_mix_twice():
    model = Recorder()
    with pytest.raises(KeyboardInterrupt):
        fit([MixUp(5.0), Interrupt()], model=model)
    model.seen.assign(np.zeros((8, 3)))
    fit([MixUp(5.0)], batches=1, model=model)
    np.testing.assert_allclose(ops.convert_to_numpy(model.seen), mix(0, alpha=5.0)[0][:, 0, 0], rtol=1e-5)


def test_bad_arguments_and_batches_are_refused():
    with pytest.raises(ValueError, match="alpha must be more than 0, got 0"):
        MixUp(0)
    with pytest.raises(ValueError, match="seed must lie in"):
        MixUp(0.1, -1)
    with pytest.raises(ValueError, match=r"one-hot labels.*int"):
        MixUp(0.1).mix(ops.convert_to_tensor(IMAGES), ops.convert_to_tensor(np.arange(8, dtype="int32")), step=0)
    with pytest.raises(ValueError, match="got sample weights as well"):
        MixUp(0.1).mix(IMAGES, LABELS, NUMBERS, step=0)
