"""TensorFlow for the modules that load data. On the jax and torch backends it leaves all GPUs to them.

TensorFlow takes nearly the whole memory of every GPU that it sees when it first computes something, even if it only
decodes images on the CPU; the network would find none left. So these modules import `tf` from here, which hides the
GPUs before any of them can compute.

On these backends a SavedModel, which TensorFlow runs, is thus evaluated on the CPU once data have been loaded. To
evaluate it on a GPU, use the tensorflow backend.
"""

import keras
import tensorflow as tf

from bit_keras.system.logs import logger


def hide_gpus() -> None:
    """Hides GPUs from TensorFlow, unless it is Keras's backend.

    They stay visible, with a warning, in a process in which TensorFlow may have been using them already.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:  # TensorFlow has computed something before
        if not tf.config.list_physical_devices("GPU"):
            return
        logger.warning(
            "TensorFlow was started before bit_keras loaded data, and may have taken most of the GPU memory that %s "
            "needs. It only loads data here: call tf.config.set_visible_devices([], 'GPU') before its first use.",
            backend,
        )


hide_gpus()
