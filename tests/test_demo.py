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
    *lines, title = printed.splitlines()[:-5]
    assert lines.pop() == ""
    assert title.startswith("new images, by the weights of the run and by the exported SavedModel")
    for line in printed.splitlines()[-5:]:
        file, *of_run = line.split()
        assert file.startswith("image_")
        assert of_run[:2] == of_run[2:], "the SavedModel has the same weights"
    assert lines[-3:] == [
        "test accuracy after 12 updates",
        f"  from BiT-mini-R17x0.5: {pretrained:.2%}",
        f"  from random weights:   {control:.2%}",
    ]
    assert pretrained > control
