"""Training that begins or ends after the end of the optimizer's schedule, where the learning rate is 0."""

import keras
import numpy as np
import pytest

from bit_keras import BiT, HyperRule

pytestmark = [pytest.mark.any_backend, pytest.mark.usefixtures("tiny")]

RULE = HyperRule(100, (32, 32), batch_size=4, steps=5)
IMAGES, LABELS = np.zeros((12, 16, 16, 3), "float32"), np.arange(12) % 3
FINISHED = "has made 5 updates and its schedule ends after 5"


def compiled(model: keras.Model) -> keras.Model:
    model.compile(RULE.optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def backbone_and_head() -> keras.Model:
    backbone = BiT("tiny", 3).backbone
    return keras.Model(backbone.input, keras.layers.Dense(3)(backbone.output))


@pytest.fixture
def warnings_of(caplog):
    def fit(model, *args, **kwargs):
        caplog.clear()
        model.fit(IMAGES, LABELS, *args, **{"verbose": 0, **({} if args else {"batch_size": 4}), **kwargs})
        return [record.message for record in caplog.records if record.name == "bit_keras"]

    return fit


def test_a_finished_training_that_goes_on_warns_at_its_beginning(warnings_of, tmp_path):
    model = compiled(BiT("tiny", 3))
    assert not warnings_of(model, epochs=3, callbacks=RULE.callbacks())
    (warning,) = warnings_of(model)
    assert FINISHED in warning
    assert "compile the model with a new optimizer" in warning
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    (warning,) = warnings_of(reloaded, epochs=2)
    assert "has made 8 updates and its schedule ends after 5" in warning
    assert warnings_of(reloaded, 4, 2) == [warning.replace("made 8", "made 14")], "of arguments by place"
    assert not warnings_of(compiled(reloaded))


def test_a_training_that_is_longer_than_its_schedule_warns_at_its_beginning(warnings_of):
    model = compiled(BiT("tiny", 3))
    assert not warnings_of(model, epochs=1)
    (warning,) = warnings_of(model, epochs=3, initial_epoch=1)
    assert "ends after 5 updates, 3 of them made, and this training makes 6" in warning


def test_an_interrupted_training_is_not_taken_for_one_that_stops_in_time(warnings_of):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = compiled(BiT("tiny", 3))
    with pytest.raises(KeyboardInterrupt):
        warnings_of(model, callbacks=[*RULE.callbacks(), Interrupt()])
    assert len(warnings_of(model, epochs=3)) == 1


def test_any_other_model_warns_at_the_end(warnings_of):
    model = compiled(backbone_and_head())
    assert not warnings_of(model, epochs=3, callbacks=RULE.callbacks())
    (warning,) = warnings_of(model)
    assert "has made 8 updates and its schedule ends after 5: since then the learning rate was 0" in warning
    assert not warnings_of(compiled(model))
