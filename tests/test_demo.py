import functools
import json

import bit_keras
from examples.demo import demo


def test_the_demo_runs_to_its_end(tmp_path, capfd, monkeypatch):
    # Evaluated once: the demo looks at the last accuracy only.
    monkeypatch.setattr(bit_keras, "finetune", functools.partial(bit_keras.finetune, eval_every=12))
    demo(str(tmp_path / "demo"), steps=12)
    printed = capfd.readouterr().out
    assert "trainable weights" in printed
    assert "of the output's scale" in printed
    pretrained, control = (
        json.loads((tmp_path / "demo" / folder / "report" / "summary.json").read_text())["test_accuracy"]
        for folder in (".", "random_weights")
    )
    lines = printed.splitlines()
    by_program, command, of_export, title = lines[-5:], lines[-6], lines[-12:-7], lines[-13]
    assert title == "new images, named by the exported model:"
    assert command.startswith("and by the weights of the run: python -m bit_keras.predict --model=")
    assert by_program == of_export, "both have the same weights"
    for number, line in enumerate(by_program):
        file, share, name = line.split()
        assert file.startswith(str(tmp_path / "demo" / "new_images" / f"image_{number}_of_a_"))
        assert share.endswith("%")
        assert name in "0123456789"
    lines = lines[:-14]
    assert lines[-3:] == [
        "test accuracy after 12 updates",
        f"  from BiT-mini-R17x0.5: {pretrained:.2%}",
        f"  from random weights:   {control:.2%}",
    ]
    assert pretrained > control
