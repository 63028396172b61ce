"""From hub.KerasLayer in tf_keras to Keras 3: the same module, fine-tuned, saved, and loaded elsewhere."""

import os

import keras
import numpy as np

import bit_keras


def fine_tune(handle: str, images: np.ndarray, labels: np.ndarray, num_classes: int) -> keras.Model:
    """Fine-tunes a feature vector module with a new head. Images [N, H, W, 3] are in [0, 1]."""
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            bit_keras.SavedModelLayer(handle, trainable=True, embed=True),
            keras.layers.Dense(num_classes, kernel_initializer="zeros"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.003, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(images, labels, batch_size=4, epochs=2, verbose=0)
    return model


def save_and_load(model: keras.Model, path: str | os.PathLike) -> keras.Model:
    """The file contains the module (embed=True). Loading runs its graph, for which Keras requires safe_mode=False."""
    model.save(path)
    return keras.saving.load_model(path, safe_mode=False)
