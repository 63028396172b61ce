"""Labels of VTAB's tasks against NumPy, by the definitions of task_adaptation."""

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.sources.task_labels import LABELS
from bit_keras.zoo.tasks import VTAB


def label(name: str, example: dict) -> int:
    found = LABELS[name].compute(tf.nest.map_structure(tf.constant, example))
    assert found.dtype == tf.int64
    assert found.shape == ()
    return int(found)


def test_every_task_has_a_label_within_its_classes():
    assert {task.label for task in VTAB} == set(LABELS)
    ranges = {"x position": 32, "orientation": 40}
    for name, count in ranges.items():
        (feature,) = LABELS[name].features
        labels = [label(name, {feature: np.int64(value)}) for value in range(count)]
        assert sorted(set(labels)) == list(range(16))
        assert labels == [int(value // (count / 16)) for value in range(count)]


@pytest.mark.parametrize("name", ["label", "azimuth", "elevation"])
def test_features_that_are_labels(name):
    (feature,) = LABELS[name].features
    assert label(name, {feature: np.int64(7)}) == 7


@pytest.mark.parametrize("count", range(3, 11))
def test_the_number_of_objects(count):
    example = {"objects": {"pixel_coords": np.zeros((count, 3), "float32")}}
    assert label("number of objects", example) == count - 3


def test_the_closest_object():
    thresholds = np.array([0, 8, 8.5, 9, 9.5, 10, 100], "float32")
    closest = np.concatenate([thresholds[1:], np.nextafter(thresholds[1:-1], np.float32(np.inf))])
    closest = np.append(closest, np.random.default_rng(0).uniform(7, 12, 50)).astype("float32")
    for distance in closest:
        coordinates = np.array([[500, 1, distance + 1], [1, 900, distance], [0, 0, 101]], "float32")
        found = label("distance of the closest object", {"objects": {"pixel_coords": coordinates}})
        assert found == np.digitize(distance, thresholds, right=True) - 1


@pytest.mark.parametrize(
    ("types", "depths", "expected"),
    [
        ([0, 1], [30.0, 8.0], 0),  # an upper edge belongs to its bin
        ([0, 3], [8.5, 1.0], 1),  # a pedestrian is no vehicle
        ([2], [-3.0], 0),
        ([1], [20.01], 2),
        ([5, 7], [1.0, 2.0], 3),  # no vehicle
        ([], [], 3),
    ],
)
def test_the_closest_vehicle(types, depths, expected):
    location = np.stack([np.zeros(len(depths)), np.ones(len(depths)), depths], axis=1).astype("float32").reshape(-1, 3)
    example = {"objects": {"type": np.array(types, "int64"), "location": location}}
    assert label("distance of the closest vehicle", example) == expected
