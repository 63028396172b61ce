import io

import h5py
import keras
import numpy as np
import pytest

from bit_keras.training import Checkpoint, MetricsLog, split_into_epochs

pytestmark = pytest.mark.any_backend
X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


BATCHES = 2


def compiled():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="dense")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", metrics=["mae"])
    return model


def checkpoint(folder, every=None) -> Checkpoint:
    return Checkpoint(folder / "last.weights.h5", MetricsLog(folder / "metrics.csv"), every)


class CutOff(keras.callbacks.Callback):
    """Ends the training after a number of steps, as if the process were killed."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def train(model, saver, length=4, total=12, callbacks=()):
    """Trains the remaining steps on their batches, from the checkpoint of `saver`."""
    start = saver.restore(model)
    for fit in split_into_epochs(start, length, total):
        images = np.concatenate([X] * total)[BATCHES * start :]
        model.fit(
            images,
            images[:, 0],
            batch_size=BATCHES,
            **fit,
            shuffle=False,
            verbose=0,
            callbacks=[saver.log, saver, *callbacks],
        )
        start = int(model.optimizer.iterations)


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 7, 11])
def test_a_restored_run_ends_like_an_uninterrupted_one(tmp_path, cut):
    straight, saver = compiled(), checkpoint(tmp_path / "straight")
    weights = straight.get_weights()
    train(straight, saver)

    first = compiled()
    first.set_weights(weights)
    with pytest.raises(KeyboardInterrupt):
        train(first, checkpoint(tmp_path / "cut", every=1), callbacks=[CutOff(cut)])
    second, again = compiled(), checkpoint(tmp_path / "cut")
    train(second, again)

    for a, b in zip(straight.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert again.log.rows == saver.log.rows
    assert [row["epoch"] for row in again.log.rows] == [0, 1, 2]
    assert sorted(file.name for file in (tmp_path / "cut").iterdir()) == ["last.weights.h5", "metrics.csv"]


def test_nothing_to_restore(tmp_path):
    assert checkpoint(tmp_path).restore(compiled()) == 0


def test_a_failed_write_keeps_the_last_good_file(tmp_path, monkeypatch):
    model, saver = compiled(), checkpoint(tmp_path)
    saver.set_model(model)
    saver.on_epoch_end(0)
    good = saver.path.read_bytes()

    def cut_off(partial):
        partial.write_bytes(good[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(model, "save_weights", cut_off)
    with pytest.raises(OSError, match="no space"):
        saver.on_epoch_end(1)
    assert saver.path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [saver.path]


def test_refuses_another_ending():
    with pytest.raises(ValueError, match=r'must end in ".weights.h5", got \'x.h5\''):
        Checkpoint("x.h5", MetricsLog("metrics.csv"))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    """The content of a checkpoint."""
    model, saver = compiled(), checkpoint(tmp_path_factory.mktemp("written"))
    saver.restore(model)
    saver.set_model(model)
    saver.on_epoch_end(0)
    return saver.path.read_bytes()


def _without_state(content: bytes) -> bytes:
    with h5py.File(io.BytesIO(content), "r+") as file:
        del file["training_state"]
        file.flush()
        return file.id.get_file_image()


DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "changed": lambda content: content.replace(b'"running": []', b'"running": {}'),
    "zeros at the end": lambda content: content[:-100] + bytes(100),
    "without its end": lambda content: content[:-10],
    "without its state": _without_state,
    "text": lambda content: b"weights",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, written, damage):
    model, saver = compiled(), checkpoint(tmp_path)
    saver.path.write_bytes(damage(written))
    with pytest.raises(ValueError, match=r"(?s)last\.weights\.h5 cannot be resumed from; .*delete it") as error:
        saver.restore(model)
    assert len(str(error.value).splitlines()) == 1
    saver.path.write_bytes(written)
    assert checkpoint(tmp_path).restore(model) == 0


def test_a_file_of_an_earlier_version_has_no_hash(tmp_path, written):
    model, saver = compiled(), checkpoint(tmp_path)
    saver.path.write_bytes(written[:-48].replace(b'"sealed": true', b'"sealed": null'))
    saver.restore(model)
