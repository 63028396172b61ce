"""Fine-tunes a reusable SavedModel as a user of tensorflow-hub and tf_keras does; prints the results as JSON.

    python hub_keras_layer.py SAVED_MODEL DATA.npz

DATA.npz contains "images" [N, H, W, 3] in [0, 1], "labels" [N] and the expected "logits" [N, K].
"""

import json
import sys

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras


def fine_tune(saved_model: str, data_file: str) -> dict:
    with np.load(data_file) as archive:
        images, labels, logits = (archive[name] for name in ("images", "labels", "logits"))
    layer = hub.KerasLayer(saved_model, trainable=True)
    model = tf_keras.Sequential([tf_keras.Input((None, None, 3)), layer])
    # Before training, which changes them.
    facts = {
        "logits": float(np.max(np.abs(model.predict(images, verbose=0) - logits)) / np.max(np.abs(logits))),
        "output_shape": list(model.output_shape),
        "trainable_weights": len(layer.trainable_weights),
        "non_trainable_weights": len(layer.non_trainable_weights),
        "regularization_losses": len(model.losses),
        "regularization_loss": float(sum(model.losses)),
    }
    cross_entropy = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        loss = cross_entropy(labels, model(images, training=True))
    gradients = tape.gradient(loss, model.trainable_weights)
    facts["loss_without_regularization"] = float(loss)
    facts["gradients_missing"] = sum(gradient is None for gradient in gradients)
    facts["gradients_zero"] = sum(not np.any(gradient) for gradient in gradients if gradient is not None)

    before = [weight.numpy() for weight in model.trainable_weights]
    model.compile(tf_keras.optimizers.SGD(0.003, momentum=0.9), cross_entropy)
    history = model.fit(images, labels, batch_size=len(images), epochs=4, shuffle=False, verbose=0)
    facts["losses"] = history.history["loss"]
    facts["weights_not_moved"] = sum(np.array_equal(b, w.numpy()) for b, w in zip(before, model.trainable_weights))
    facts["library_imported"] = "bit_keras" in sys.modules
    return facts


if __name__ == "__main__":
    print(json.dumps(fine_tune(*sys.argv[1:])))
