"""Uses the SavedModel as others would: in hub.KerasLayer of tf_keras, without bit_keras.

Arguments: the SavedModel's folder and an npz file with images in [0, 1], one-hot labels and the expected logits.
"""

import sys

import numpy as np
import tensorflow_hub as hub
import tf_keras


def compare(saved_model: str, expected: str) -> None:
    """Prints how the module's outputs compare with the expected ones; raises SystemExit if they differ."""
    with np.load(expected) as archive:
        images, labels, logits = archive["images"], archive["labels"], archive["logits"]
    layer = hub.KerasLayer(saved_model, trainable=True)
    model = tf_keras.Sequential([tf_keras.Input(images.shape[1:]), layer])
    hub_logits = model.predict(images, verbose=0)
    difference = np.abs(hub_logits - logits).max() / np.abs(logits).max()
    accuracy = np.mean(hub_logits.argmax(-1) == labels.argmax(-1))
    print(f"  hub.KerasLayer(trainable=True): {len(layer.trainable_weights)} trainable weights")
    print(f"  test accuracy {accuracy:.2%}")
    print(f"  largest difference from the Keras model: {difference:.1e} of the output's scale")
    if difference > 1e-5:
        raise SystemExit(f"the difference must be at most 1e-5 of the output's scale, got {difference:.1e}")


if __name__ == "__main__":
    compare(*sys.argv[1:])
