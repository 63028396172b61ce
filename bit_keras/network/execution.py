"""How functions of tensors run in a training step: plain, as a shared graph function, or as an XLA program.

On jax they run plain: fusing their operations is left to its compiler, but on CPUs 1x1 convolutions are matrix
products. So they do on GPUs and TPUs on tensorflow, where Keras compiles the whole step. On its CPUs all calls of the
same shapes share one graph function; for large arrays it is an XLA program, which reads and writes a feature map once.
Convolutions stay outside: on a CPU those of XLA are slower. torch has operations and gradients of its own.

`runner` and `prefers_products` decide: what is faster on CPUs is used only there until it is measured elsewhere. A
benchmark that measures it overrules the choice by `choose`.
"""

import contextlib
import contextvars
import functools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence

import keras

from bit_keras.system.checks import check_choice

# Minimum elements of a feature map for XLA: compiling a function for one shape takes a tenth of a second.
XLA_MINIMUM = 2**18
# Minimum elements of an output of ReLU that the backward pass recomputes; smaller ones are saved.
RECOMPUTE_MINIMUM = 2**19
# Programs in the cache. A network at one batch shape needs about 90, whatever its depth, so this holds ten of them.
# Without a bound, a process that trains on ever new image sizes would keep the graph and machine code of them all.
MAX_PROGRAMS = 1024

# Attribute on an output tensor: a function that recomputes it in the backward pass, so that the consumer need not save
# it. If a cast or another layer drops the attribute, the tensor is saved as usual: more memory, same result.
_RECOMPUTE = "_bit_keras_recompute"

# What `choose` overrules the choice by. Not a context variable: the strategies of TensorFlow trace their replicas in
# threads of their own.
_choice = None

CHOICES = ("plain", "as on CPUs")

_portable = contextvars.ContextVar("portable", default=False)
_training = contextvars.ContextVar("training", default=None)


@contextlib.contextmanager
def choose(choice: str) -> Iterator[None]:
    """Overrules, for measurements, how training steps run that are traced within the block.

    It holds for the whole process. A step keeps how it was traced: compile the model, and begin its training, inside.

    Args:
        choice: "plain" for the operations that GPUs get, "as on CPUs" for shared graph functions, XLA programs and
            matrix products, on jax for matrix products alone. torch runs the same under both.

    Raises:
        ValueError: `choice` has another value.
    """
    global _choice
    check_choice("choice", choice, CHOICES)
    before, _choice = _choice, choice
    try:
        yield
    finally:
        _choice = before


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Limits the block to plain operations, for graphs that are saved.

    A restored graph lacks hand-written gradients, and XLA compiles it anew at every value that training changes.
    """
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


@contextlib.contextmanager
def in_training(training: bool | None) -> Iterator[None]:
    """Sets `training` for layers that are called during rematerialization, outside of Keras's call context.

    Keras knows it only in the forward pass, and the backward pass must compute the same.
    """
    token = _training.set(training)
    try:
        yield
    finally:
        _training.reset(token)


def is_eager(value) -> bool:
    """Tells whether a value is a tensor with values: not one of a graph that is being traced."""
    if not keras.ops.is_tensor(value):
        return False
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return not tf.is_symbolic_tensor(value)
    if keras.backend.backend() == "jax":
        import jax

        return not isinstance(value, jax.core.Tracer)
    import torch

    return not torch.compiler.is_compiling() and value.device.type != "meta"


def rematerialize(function: Callable) -> Callable:
    """`keras.remat`; on torch it runs outside of what torch.compile traces."""
    function = keras.remat(function)
    if keras.backend.backend() != "torch":
        return function
    import torch

    return torch.compiler.disable(function)


def custom_gradient(function: Callable) -> Callable:
    """`keras.ops.custom_gradient` on tensorflow and jax, with the same signature of the gradient.

    Args:
        function: of tensors; returns its outputs and the gradient, a function from the output gradient to the input
            gradients.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from bit_keras.network import gradient_tf as engine
    else:
        from bit_keras.network import gradient_jax as engine
    return engine.custom_gradient(function)


def free_gradients_with(network: keras.Model) -> None:
    """Makes TensorFlow forget the gradients in the graphs of a network, once the network is collected.

    Those of this package are forgotten with their graph; this is for those that Keras's optimizers register.
    """
    weakref.finalize(network, free_gradients).atexit = False


def free_gradients() -> None:
    """Makes TensorFlow forget all gradients in the graphs of networks that do not exist any more."""
    if keras.backend.backend() == "tensorflow":
        from bit_keras.network import gradient_tf

        gradient_tf.bind_others()


def runner(training: bool | None, shape: Sequence[int | None]) -> Callable | None:
    """Selects how functions of arrays of this shape run: `plain`, `shared` or `compiled`.

    Args:
        training: whether this is a training step; None takes the value of `in_training`.
        shape: of the largest array; None stands for an unknown size.

    Returns:
        A function of (function, *tensors, **settings), or None where plain operations are used whose gradient the
        backend derives: outside of training, in a portable graph, and on torch.
    """
    backend = keras.backend.backend()
    if backend == "torch":  # first, since context variables are not traced
        return None
    training = _training.get() if training is None else training
    if not training or _portable.get():
        return None
    if backend != "tensorflow" or not _runs_as_on_cpus():
        return plain
    return compiled if _elements(shape) >= XLA_MINIMUM else shared


def prefers_products() -> bool:
    """Whether 1x1 convolutions are matrix products, in training and prediction: on jax, on CPUs.

    XLA computes the gradient of the kernel of a 1x1 convolution several times as fast then. On tensorflow
    `convolution_tf` does it in training.
    """
    return keras.backend.backend() == "jax" and not _portable.get() and _runs_as_on_cpus()


def plain(function: Callable, *tensors, **settings):
    """Calls a function."""
    return function(*tensors, **settings)


def shared(function: Callable, *tensors, **settings):
    """Calls a graph function, traced once for all layers that call it on arrays of the same shapes."""
    return _program(function, _signature(tensors), tuple(settings.items()), jit_compile=False)(*tensors)


def compiled(function: Callable, *tensors, **settings):
    """Calls a function as an XLA program."""
    return _program(function, _signature(tensors), tuple(settings.items()), jit_compile=True)(*tensors)


def offer_recomputation(tensor, recompute: Callable) -> None:
    """Lets the consumer of a large output tensor recompute it in the backward pass, instead of saving it."""
    if _elements(tensor.shape) >= RECOMPUTE_MINIMUM:
        setattr(tensor, _RECOMPUTE, recompute)


def recomputation_of(tensor) -> Callable | None:
    """Returns the function that recomputes a tensor, None for a tensor that must be saved."""
    return getattr(tensor, _RECOMPUTE, None)


def is_torch() -> bool:
    """Whether Keras runs on torch."""
    return keras.backend.backend() == "torch"


def is_compiled_by_torch() -> bool:
    """Whether torch.compile traces a call, which may leave parts of it out, as torch.export may not."""
    import torch

    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


def is_traced_by_torch(*inputs) -> bool:
    """Whether torch.compile, a transform of torch.func or forward mode traces a call.

    Such a call must not look at values, and the compiler fails at some of torch's own operations if shapes vary.
    """
    import torch
    from torch.autograd import forward_ad

    if torch.compiler.is_compiling():
        return True
    # The default is for versions of torch without it, which raise errors of their own.
    is_transformed = getattr(torch._C, "_are_functorch_transforms_active", bool)
    return is_transformed() or any(forward_ad.unpack_dual(x).tangent is not None for x in inputs)


def _runs_as_on_cpus() -> bool:
    """Whether TensorFlow or jax finds nothing but CPUs; `choose` overrules it."""
    if _choice is not None:
        return _choice == "as on CPUs"
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "cpu"
    import tensorflow as tf

    return all(device.device_type == "CPU" for device in tf.config.list_physical_devices())


def _elements(shape: Sequence[int | None]) -> int:
    """Number of elements; an unknown size counts as 32."""
    return math.prod(size or 32 for size in shape)


def _signature(tensors) -> tuple:
    return tuple((tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype)) for tensor in tensors)


@functools.lru_cache(MAX_PROGRAMS)
def _program(function, signature, settings, jit_compile):
    """Returns a function per signature: TensorFlow warns of a tf.function that is traced for many."""
    import tensorflow as tf

    from bit_keras.network import program_tf

    function = functools.partial(function, **dict(settings))
    if jit_compile:
        return program_tf.xla_program(function)
    # Not inlined: common-subexpression elimination would merge the recomputation with the forward pass and keep the
    # activation.
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
