"""Contests of benchmarks: the same allocator for all, tables, and what the contenders ran in."""

import itertools
import os
import sys

import pytest

from benchmarks import contest, convolutions, fit, networks, surroundings

# A contender that reports its environment and takes no time.
CONTENDER = """
import os, sys
from benchmarks import contest
name = next(argument for argument in sys.argv if argument.startswith("--contender=")).partition("=")[2]
sys.exit(3) if name == "broken" else contest.take_turns(lambda: None, calls=2, seen=dict(os.environ))
"""


@pytest.fixture
def program(tmp_path, monkeypatch) -> str:
    """A module that runs as a contender."""
    (tmp_path / "a_contender.py").write_text(CONTENDER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.getcwd()]))
    return "a_contender"


@pytest.mark.parametrize("allocator", contest.ALLOCATORS)
def test_all_contenders_run_under_the_same_allocator(program, monkeypatch, allocator):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "LD_PRELOAD", "GLIBC_TUNABLES"):
        monkeypatch.setenv(name, "")
    variables = contest.ALLOCATORS[allocator]
    contenders = {"a": {"OMP_NUM_THREADS": "1"}, "b": {}}
    seconds, facts = contest.contest(program, contenders, rounds=3, allocator=variables)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    for name in contenders:
        seen = {key: value for key, value in facts[name]["seen"].items() if surroundings.is_of_allocator(key)}
        assert seen == variables
        assert variables.items() <= facts[name]["surroundings"]["variables"].items()
    assert facts["a"]["surroundings"]["variables"]["OMP_NUM_THREADS"] == "1"


def test_a_contender_has_no_allocator_of_its_own(program):
    with pytest.raises(ValueError, match="the same allocator, got MALLOC_ARENA_MAX for 'b'"):
        contest.contest(program, {"a": {}, "b": {"MALLOC_ARENA_MAX": "1"}}, rounds=1)


def test_a_contender_that_ends_early_is_named(program):
    with pytest.raises(RuntimeError, match="contender 'broken' exited with status 3"):
        contest.contest(program, {"broken": {}}, rounds=1)


def test_kept_memory_is_the_issue_s_setting():
    assert contest.ALLOCATORS["default"] == {}
    assert {int(value) for value in contest.ALLOCATORS["kept memory"].values()} == {10**11}


def test_a_table():
    gemm = 2 * 10 * 2048**3  # operations
    seconds = {"ours": [0.5, 0.4], "timm": [1, 0.8], "ours, bfloat16": [0.25, 0.2], "GEMM float32": [1.0, 1.0]}
    seconds["GEMM bfloat16"] = [0.5, 0.5]
    lines = contest.table(seconds, "kept memory", 16, 0.225 * gemm, "timm", {"ours": 10**9}).splitlines()
    assert lines == [
        "| batch 16, kept memory | ms | images/s | speed relative to timm | fraction of GEMM rate | memory |",
        "| --- | --- | --- | --- | --- | --- |",
        "| ours | 450.0 (400.0 to 500.0) | 35.6 | 2.00 (2.00 to 2.00) | 50% | 1.00 GB |",
        "| timm | 900.0 (800.0 to 1000.0) | 17.8 | 1.00 (1.00 to 1.00) | 25% |  |",
        "| ours, bfloat16 | 225.0 (200.0 to 250.0) | 71.1 | 4.00 (4.00 to 4.00) | 50% |  |",
        "| GEMM float32 |  |  |  | 172 GFLOP/s |  |",
        "| GEMM bfloat16 |  |  |  | 344 GFLOP/s |  |",
    ]
    del seconds["timm"]
    assert "| ours | 450.0 (400.0 to 500.0) | 35.6 |  | 50% |" in contest.table(seconds, "", 16, 0.225 * gemm, "timm")


def test_a_table_of_surroundings():
    common = {"packages": "torch 2", "threads": "3 in 2 cores", "allocator": "glibc 2"}
    facts = {
        "a": {"surroundings": {**common, "variables": {"MALLOC_X": "1", "KERAS_BACKEND": "jax"}}},
        "b": {"surroundings": {**common, "variables": {"MALLOC_X": "1"}}},
    }
    assert surroundings.table(facts).splitlines()[2:] == [
        "| a | torch 2 | 3 in 2 cores | KERAS_BACKEND=jax |",
        "| b | torch 2 | 3 in 2 cores |  |",
        "",
        "All: glibc 2; MALLOC_X=1",
    ]


def test_surroundings_of_this_process(monkeypatch):
    for name in ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TF_CLI_CONFIG_FILE", "HOME", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    described = surroundings.describe()
    assert {"KERAS_BACKEND", "OMP_NUM_THREADS"} <= set(described["variables"])
    assert not {"TF_CPP_MIN_LOG_LEVEL", "TF_CLI_CONFIG_FILE", "HOME"} & set(described["variables"])
    assert f"keras {sys.modules['keras'].__version__}" in described["packages"]
    assert f"in {len(os.sched_getaffinity(0))} cores" in described["threads"]


def test_turns_of_work_that_others_call(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", iter(["go\n"] * 2))
    calls = sum(1 for _ in contest.turns(calls=3, warm_up=2, fact=1))
    assert calls == 2 + 2 * (1 + 3)
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2


def test_a_table_of_fit():
    seconds = {"step, jax": [1.0, 0.9], "fit, jax": [1.25, 1.0], "fit, torch": [1.0, 1.0]}
    assert fit.table(seconds, "default", 16).splitlines()[2:] == [
        "| step, jax | 950.0 (900.0 to 1000.0) | 16.8 |  |",
        "| fit, jax | 1125.0 (1000.0 to 1250.0) | 14.2 | 0.85 (0.80 to 0.90) |",
        "| fit, torch | 1000.0 (1000.0 to 1000.0) | 16.0 |  |",
    ]


def test_convolutions_are_those_of_the_network(tiny):
    import bit_keras

    counts = convolutions.convolutions("tiny", 32)
    forward = sum(count * (c.side_of_outputs * c.size) ** 2 * c.inputs * c.filters for c, count in counts.items())
    network = bit_keras.folded(bit_keras.BiT("tiny", 1))
    head = network.output_shape[-1] * network.layers[-1].kernel.shape[0]
    assert forward == networks.multiplications(network, 32) - head
    assert sum(c.is_first for c in counts) == 1


def test_both_libraries_compute_the_same_convolutions():
    import numpy as np

    random = np.random.default_rng(0)
    for size, strides, padding in ((1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1)):
        c = convolutions.Convolution(8, 4, 5, size, strides, padding)
        arrays = convolutions.arrays(c, 2, random)
        by_torch, by_xla = convolutions._torch(c, *arrays)(), convolutions._xla(c, *arrays)()
        orders = (0, 2, 3, 1), (0, 2, 3, 1), (2, 3, 1, 0)  # outputs, gradients of inputs and kernel
        for a, b, order in itertools.zip_longest(by_torch, by_xla, orders):
            np.testing.assert_allclose(a.permute(order), b, rtol=0, atol=1e-4)
