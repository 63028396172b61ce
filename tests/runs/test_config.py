"""What identifies the weights of a run."""

import hashlib

import pytest

from bit_keras import data
from bit_keras.distill import DistillConfig
from bit_keras.runs import config


def test_weights_are_identified_by_their_content_and_names_by_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("w.npz", "labels"):
        (tmp_path / name).write_bytes(name.encode())
    content = hashlib.sha256(b"w.npz").hexdigest()
    assert config.fingerprint("w.npz") == content
    assert [config.fingerprint(name) for name in ("R50x1", "BiT-M-R50x1")] == [None, None]
    with pytest.raises(ValueError, match=r"no file is called 'missing\.npz'"):
        config.fingerprint("missing.npz")
    source = data.load("digits", verbose=False)
    names = {"dataset": "digits", "workdir": "w"}
    assert "weights" not in DistillConfig(model="R50x1", teacher="labels", **names).identity(source)
    both = DistillConfig(model="R50x1", teacher="w.npz", **names).identity(source)["weights"]
    assert both == {"teacher": content}
