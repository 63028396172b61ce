"""Labels of tasks that are made from other features than a class: counts, distances, positions and angles.

Source: google-research/task_adaptation, `task_adaptation/data/{clevr,kitti,dsprites,smallnorb}.py`.
"""

import dataclasses
from collections.abc import Callable

from bit_keras.data.tensorflow_for_data import tf

# Upper edges belong to their bin, lower ones do not.
_CLEVR_EDGES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
_KITTI_EDGES = (-100.0, 8.0, 20.0, 999.0)
_NO_VEHICLE = 1_000.0  # distance in metres, beyond the last edge
_KITTI_VEHICLES = 3  # types 0 to 2: car, van, truck
_FEWEST_OBJECTS = 3
_MOST_REAL_LABELS = 9  # of one image in ReaL


@dataclasses.dataclass(frozen=True)
class Label:
    """How the label of an example is made.

    Attributes:
        features: the features to decode, as `tfds.decode.PartialDecoding` takes them.
        compute: maps the decoded features of an example to its label, an integer scalar, or integers [L] padded with -1
            if there are several.
    """

    features: dict
    compute: Callable[[dict], tf.Tensor]


def _bin(value: tf.Tensor, edges: tuple[float, ...]) -> tf.Tensor:
    """Returns the index of the interval (edges[i], edges[i + 1]] that holds a value."""
    return tf.reduce_sum(tf.cast(tf.constant(edges) < value, tf.int64)) - 1


def _number_of_objects(example: dict) -> tf.Tensor:
    return tf.shape(example["objects"]["pixel_coords"], tf.int64)[0] - _FEWEST_OBJECTS


def _closest_object(example: dict) -> tf.Tensor:
    return _bin(tf.reduce_min(example["objects"]["pixel_coords"][:, 2]), _CLEVR_EDGES)


def _closest_vehicle(example: dict) -> tf.Tensor:
    is_vehicle = example["objects"]["type"] < _KITTI_VEHICLES
    distances = tf.boolean_mask(example["objects"]["location"][:, 2], is_vehicle)
    return _bin(tf.reduce_min(tf.concat([distances, [_NO_VEHICLE]], 0)), _KITTI_EDGES)


def _real_labels(example: dict) -> tf.Tensor:
    """Returns the labels of an image, any number of them, padded with -1 to a fixed length."""
    labels = tf.cast(example["real_label"], tf.int64)
    padded = tf.pad(labels, [[0, _MOST_REAL_LABELS - tf.size(labels)]], constant_values=-1)
    return tf.ensure_shape(padded, [_MOST_REAL_LABELS])


REAL_LABELS = Label({"real_label": True}, _real_labels)


def label_of(name: str, change: Callable[[tf.Tensor], tf.Tensor] = lambda label: label) -> Label:
    """Returns the label that a feature is, or that `change` makes of it."""
    return Label({name: True}, lambda example: change(tf.cast(example[name], tf.int64)))


LABELS = {
    "label": label_of("label"),
    "number of objects": Label({"objects": {"pixel_coords": True}}, _number_of_objects),
    "distance of the closest object": Label({"objects": {"pixel_coords": True}}, _closest_object),
    "distance of the closest vehicle": Label({"objects": {"type": True, "location": True}}, _closest_vehicle),
    "x position": label_of("label_x_position", lambda position: position // 2),  # 32 positions
    "orientation": label_of("label_orientation", lambda angle: 2 * angle // 5),  # 40 angles in 16 bins of two or three
    "azimuth": label_of("label_azimuth"),
    "elevation": label_of("label_elevation"),
}
