"""Uses two modules as their users do, all in one process; prints the results as JSON.

    python tfhub_module.py CLASSIFIER FEATURE_VECTOR DATA.npz ARCHIVE_URL

DATA.npz contains "images" [N, H, W, 3] in [0, 1] and, by name, the expected endpoints of the classifier. ARCHIVE_URL is
the address of the archive of the classifier.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras


def use(classifier: str, feature_vector: str, data_file: str, archive_url: str) -> dict:
    with np.load(data_file) as archive:
        expected = dict(archive)
    images = tf.constant(expected.pop("images"))
    module = hub.load(classifier)
    return {
        "differences": _differences(module, classifier, archive_url, images, expected),
        "variables": [len(module.variables), len(module.trainable_variables)],
        "gradients": _gradients(module, images),
        "task_adaptation": _task_adaptation(hub.load(feature_vector), images),
        "keras_layer": _keras_layer(feature_vector, images, expected["features"]),
        "library_imported": "bit_keras" in sys.modules,
    }


def _differences(module, directory: str, archive_url: str, images, expected: dict) -> dict[str, float]:
    """Returns {way to run the classifier: largest difference from the expected outputs}."""
    layer = keras.layers.TFSMLayer(directory, call_endpoint="__call__")
    inputs = keras.Input((None, None, 3))
    calls = {
        "hub.load": module(images),
        "positional": module(images, False),
        "training": module(images, training=True),
        "hub.load of the archive": hub.load(archive_url)(images),
        "TFSMLayer of __call__": keras.Model(inputs, layer(inputs)).predict(images, verbose=0),
        "TFSMLayer of serving_default": keras.layers.TFSMLayer(directory, call_endpoint="serving_default")(images)[
            "logits"
        ],
    }
    differences = {name: _difference(array, expected["logits"]) for name, array in calls.items()}
    for name, array in module.endpoints(images, training=False).items():
        differences[f"endpoint {name}"] = _difference(array, expected[name])
    return differences


def _difference(found, expected: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(found) - expected)) / np.max(np.abs(expected)))


def _gradients(module, images) -> int:
    """Returns the number of variables that the gradient of an endpoint reaches."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(module.endpoints(images, training=True)["block3"] ** 2)
    return sum(g is not None and bool(np.any(g)) for g in tape.gradient(loss, module.trainable_variables))


def _task_adaptation(module, images) -> list[float]:
    """Returns the losses of training a linear head as task_adaptation does: in a graph, with a flag for training."""
    head = tf.Variable(tf.zeros([module(images).shape[-1], 2]))
    labels = tf.range(len(images)) % 2

    @tf.function
    def loss(training: bool):
        logits = module(images, training=training) @ head
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    losses = [float(loss(False))]
    for _ in range(3):
        with tf.GradientTape() as tape:
            value = loss(True)
        variables = [head, *module.trainable_variables]
        for variable, gradient in zip(variables, tape.gradient(value, variables)):
            variable.assign_sub(0.01 * gradient)
        losses.append(float(loss(False)))
    return losses


def _keras_layer(directory: str, images, features: np.ndarray) -> dict:
    """Fine-tunes in tf_keras. The endpoints must change too, because they share the variables."""
    layer = hub.KerasLayer(directory, trainable=True)
    model = tf_keras.Sequential([tf_keras.Input((None, None, 3)), layer])
    before = [weight.numpy() for weight in layer.trainable_weights]
    facts = {
        "difference": _difference(model.predict(images, verbose=0), features),
        "trainable": len(layer.trainable_weights),
        "regularization_losses": len(model.losses),
    }
    model.compile(tf_keras.optimizers.SGD(0.01), "mse")
    facts["losses"] = model.fit(images, features + 1, epochs=3, batch_size=len(images), verbose=0).history["loss"]
    facts["not_moved"] = sum(np.array_equal(b, w.numpy()) for b, w in zip(before, layer.trainable_weights))
    found = layer.resolved_object.endpoints(images)["features"]
    facts["endpoints_follow"] = _difference(found, model.predict(images, verbose=0))
    facts["moved"] = _difference(found, features)
    return facts


if __name__ == "__main__":
    print(json.dumps(use(*sys.argv[1:])))
