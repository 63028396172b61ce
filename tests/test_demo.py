from examples.demo import demo


def test_the_demo_runs_to_its_end(tmp_path, capfd):
    demo(str(tmp_path / "demo"), steps=12)
    said = capfd.readouterr().out
    assert "random weights" in said
    assert "trainable weights" in said
    assert "of the output's scale" in said
