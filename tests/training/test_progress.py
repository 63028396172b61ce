import io
import types

import pytest
import rich.console

from bit_keras.training import Progress, progress

LOGS = {"loss": 0.25, "accuracy": 0.75}


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


def train(monkeypatch, is_terminal, start=0, steps=6, accumulate=1):
    """Runs two epochs of three steps of 8 images: 10 s for the first step, 0.5 s for the others, 7 s per evaluation."""
    screen = io.StringIO()
    console = rich.console.Console(file=screen, force_terminal=is_terminal, width=150)
    clock = Clock()
    monkeypatch.setattr(progress.progress, "get_console", lambda: console)
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr("rich.live.get_console", lambda: console)
    monkeypatch.setattr("rich.progress.get_console", lambda: console)
    watch = Progress(total_steps=(start + steps) // accumulate, batch_size=8 * accumulate, accumulate=accumulate)
    watch.set_params({"steps": 3})
    watch.set_model(types.SimpleNamespace(optimizer=types.SimpleNamespace(_iterations=start)))
    epochs = []
    watch.on_train_begin()
    for epoch in range(2):
        watch.on_epoch_begin(epoch)
        for batch in range(3):
            clock.now += 10 if epoch == batch == 0 else 0.5
            watch.on_train_batch_end(batch, LOGS)
        watch.on_test_begin()
        clock.now += 7
        epochs.append({**LOGS, "val_loss": 1.0, "val_accuracy": 0.5})
        watch.on_epoch_end(epoch, epochs[-1])
    watch.on_train_end()
    return epochs, screen.getvalue()


@pytest.mark.parametrize("start", [0, 12])
def test_speed_is_that_of_training_alone(monkeypatch, start):
    epochs, _ = train(monkeypatch, is_terminal=False, start=start)
    assert [logs["images_per_second"] for logs in epochs] == pytest.approx([16, 16])
    assert [logs["seconds"] for logs in epochs] == pytest.approx([18, 8.5])


def test_without_a_terminal_every_epoch_is_a_log_line(monkeypatch, caplog):
    with caplog.at_level("INFO", "bit_keras"):
        _, screen = train(monkeypatch, is_terminal=False)
    assert screen == ""
    assert caplog.messages == [
        f"step {step}/6  loss 0.2500  accuracy 0.7500  val_accuracy 0.5000  16 images/s" for step in (3, 6)
    ]


def test_describes_numbers_speed_and_time_left(monkeypatch):
    lines = []
    on_train_batch_end = Progress.on_train_batch_end

    def look(self, batch, logs=None):
        on_train_batch_end(self, batch, logs)
        lines.append(self.describe())

    monkeypatch.setattr(Progress, "on_train_batch_end", look)
    train(monkeypatch, is_terminal=False)
    numbers = "loss 0.2500  accuracy 0.7500"
    assert lines == [
        f"step 1/6  {numbers}",
        f"step 2/6  {numbers}  16 images/s  0:00:02 left",
        "evaluating after step 3/6",
        f"step 4/6  {numbers}  16 images/s  0:00:01 left",
        f"step 5/6  {numbers}  16 images/s  0:00:00 left",
        "evaluating after step 6/6",
    ]


def test_accumulated_steps_are_counted_as_updates(monkeypatch, caplog):
    with caplog.at_level("INFO", "bit_keras"):
        epochs, _ = train(monkeypatch, is_terminal=False, accumulate=3)
    assert [message.split()[1] for message in caplog.messages] == ["1/2", "2/2"]
    assert [logs["images_per_second"] for logs in epochs] == pytest.approx([16, 16])


def test_a_terminal_shows_a_bar_with_speed_and_time_left(monkeypatch, caplog):
    with caplog.at_level("INFO", "bit_keras"):
        _, screen = train(monkeypatch, is_terminal=True)
    assert caplog.messages == []
    assert "step 6/6  loss 0.2500  accuracy 0.7500  val_accuracy 0.5000  16 images/s" in screen
    assert "━" in screen
    assert "6/6  loss 0.2500  accuracy 0.7500  16 images/s" in screen
    assert "0:00:00" in screen
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h") == 1, "the cursor must come back"
