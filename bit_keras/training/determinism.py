"""Deterministic operations."""

import keras


def make_deterministic() -> None:
    """Makes the operations of this process deterministic: bit-identical every time, maybe slower on a GPU.

    It lasts until the process ends: TensorFlow has no public way back. On tensorflow, Keras does not use XLA then, and
    warns where `jit_compile=True` asks for it.

    Example:
        >>> from bit_keras.training import make_deterministic
        >>> keras.utils.set_random_seed(0)
        >>> make_deterministic()
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif keras.backend.backend() == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
    # jax is deterministic on CPU and TPU; on a GPU it needs XLA_FLAGS=--xla_gpu_deterministic_ops=true.
