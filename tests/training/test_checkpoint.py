import keras
import numpy as np
import pytest

from bit_keras.training import Checkpoint

pytestmark = pytest.mark.any_backend
X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def compiled():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="dense")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def test_a_restored_run_ends_like_an_uninterrupted_one(tmp_path):
    path = tmp_path / "checkpoint" / "last.weights.h5"
    straight = compiled()
    weights = straight.get_weights()
    straight.fit(X, X[:, 0], batch_size=4, epochs=3, shuffle=False, verbose=0)

    first = compiled()
    first.set_weights(weights)
    assert Checkpoint(path).restore(first) == 0
    first.fit(X, X[:, 0], batch_size=4, epochs=1, shuffle=False, verbose=0, callbacks=[Checkpoint(path)])
    second = compiled()
    assert Checkpoint(path).restore(second) == 2
    second.fit(X, X[:, 0], batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[Checkpoint(path)])

    for a, b in zip(straight.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_failed_write_keeps_the_last_good_file(tmp_path, monkeypatch):
    path = tmp_path / "last.weights.h5"
    model = compiled()
    checkpoint = Checkpoint(path)
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(0)
    good = path.read_bytes()

    def cut_off(partial):
        partial.write_bytes(good[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(model, "save_weights", cut_off)
    with pytest.raises(OSError, match="no space"):
        checkpoint.on_epoch_end(1)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def test_refuses_another_ending():
    with pytest.raises(ValueError, match=r'must end in ".weights.h5", got \'x.h5\''):
        Checkpoint("x.h5")
