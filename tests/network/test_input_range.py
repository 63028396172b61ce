"""The warning about images outside of [-1, 1]."""

import copy
import threading

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.network.base import Network
from bit_keras.network.input_range import LOOKS, RangeCheck

WORDS = "the network takes images in [-1, 1], got values from"


def images(low, high):
    random = np.random.default_rng(0).uniform(low, high, (2, 16, 16, 3)).astype("float32")
    random[0, 0, 0, 0], random[1, 1, 1, 1] = low, high
    return random


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if WORDS in record.getMessage()]


def test_every_way_to_predict_warns_once_and_changes_nothing(golden_npz, caplog):
    network, wrong = bit_keras.BiT.from_preset(golden_npz), images(0, 255)
    expected = super(Network, network).call(wrong).numpy()
    assert not warnings(caplog)
    network(wrong, training=True)
    assert not warnings(caplog)
    calls = (network, network.predict_on_batch, lambda x: network.predict(x, verbose=0))
    for call in calls:
        network._range_check = RangeCheck()
        caplog.clear()
        found = np.asarray(call(wrong))
        call(wrong)
        assert len(warnings(caplog)) == 1
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    network._range_check = RangeCheck()
    caplog.clear()
    network(np.full((1, 16, 16, 3), 255, "uint8"))
    assert len(warnings(caplog)) == 1


@pytest.mark.any_backend
@pytest.mark.parametrize(("low", "high"), [(0, 255), (-1, 1.01), (-1.01, 1), (-2.1, 2.6)])
@pytest.mark.parametrize("kind", [np.asarray, keras.ops.convert_to_tensor])
def test_values_outside(caplog, low, high, kind):
    check = RangeCheck()
    check.look(kind(images(-1, 1)))
    assert not warnings(caplog)
    check.look(kind(images(low, high)))
    check.look(kind(images(low, high)))
    (line,) = warnings(caplog)
    assert f"from {low:.4g} to {high:.4g}," in line


def test_later_batches_are_not_looked_at(caplog):
    check = RangeCheck()
    for _ in range(LOOKS):
        check.look(images(-1, 1))
    check.look(images(0, 255))
    assert not warnings(caplog), "a check of every batch would wait for the device"


@pytest.mark.any_backend
def test_what_has_no_values_is_skipped(caplog):
    check = RangeCheck()
    for x in (keras.Input((2, 2, 3)), iter([images(0, 255)]), None, np.zeros((0, 2, 2, 3)), "images"):
        check.look(x)
    assert not warnings(caplog)


def test_of_many_threads_one_warns(caplog):
    check, wrong, barrier = RangeCheck(), images(0, 255), threading.Barrier(8)

    def look():
        barrier.wait()
        check.look(wrong)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(warnings(caplog)) == 1


def test_a_copy_warns_again(caplog):
    check = RangeCheck()
    check.look(images(0, 255))
    copy.deepcopy(check).look(images(0, 255))
    assert len(warnings(caplog)) == 2
