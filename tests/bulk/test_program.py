"""What is refused before a worker starts."""

import importlib.util

import pytest

pytest.importorskip("ray", reason="needs the extra ray")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--model={weights}", "--input={photos}"], 2, "--output must be given"),
        (["--inputs=a"], 2, "unknown flag --inputs; did you mean input?"),
        (["--model=none", "--input={photos}", "--output=rows"], 1, "error: no file is called 'none'"),
        (["--model={weights}", "--input=none/**", "--output=rows"], 1, "error: input: no such file or folder: none/**"),
        (["--model={weights}", "--input={photos}", "--output={photos}"], 1, "must be a new or empty folder"),
        (["--model={weights}", "--input={photos}", "--output=nowhere://a"], 1, "must be of a known file system"),
        (
            ["--model={weights}", "--input={photos}", "--output=rows", "--class_names=none"],
            1,
            "class_names must be a file",
        ),
        (
            ["--model={weights}", "--input={photos}", "--output=rows", "--address=127.0.0.1:1"],
            1,
            "error: address: no Ray cluster at 127.0.0.1:1: Connection refused",
        ),
        (
            ["--model={weights}", "--input={photos}", "--output=rows", "--address=ray://127.0.0.1:1"],
            1,
            "error: address: a job cannot run through a Ray client; start it on a machine of the cluster",
        ),
    ],
)
def test_errors(arguments, status, words, weights, photos, tmp_path, run_program):
    given = [argument.format(weights=weights, photos=photos) for argument in arguments]
    done = run_program("bit_keras.bulk", *given, folder=tmp_path)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("rows/part-*"))
    assert "by 1 worker" not in done.stderr


def test_without_ray(monkeypatch):
    from bit_keras.bulk import __main__ as program

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"bit-bulk needs the package ray, .* pip install 'bit-keras\[ray\]'"):
        program.main()
