"""The benchmark for GPUs: what it knows without one."""

import time
import types

import pytest

import bit_keras
from benchmarks import gpu, networks
from benchmarks.chips import CHIPS, find_chip


@pytest.mark.parametrize("side", [32, 45])
def test_multiplications(tiny, side):
    network = bit_keras.folded(bit_keras.BiT("tiny", gpu.NUM_CLASSES))
    assert gpu.multiplications("tiny", side) == networks.multiplications(network, side)


def test_multiplications_of_the_paper_s_network():
    assert gpu.multiplications("R50x1", 224) == pytest.approx(4.1e9, rel=0.05)  # arXiv 1512.03385, table 1: 3.8e9


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("Tesla T4", 65),
        ("Tesla V100-SXM2-16GB", 125),
        ("Tesla V100-PCIE-32GB", 112),
        ("NVIDIA L40S", None),
        ("NVIDIA A10", None),
        ("CPU", None),
    ],
)
def test_chips_by_the_names_of_their_driver(name, teraflops):
    chip = find_chip(name)
    assert (chip and chip.peak / 1e12) == teraflops


def test_chips_have_a_source():
    assert all("data sheet" in chip.source and chip.half in ("bfloat16", "float16") for chip in CHIPS)


def test_batches_that_fit_into_the_memory():
    sizes = [gpu.fitting("R101x3", 480, "mixed_bfloat16", gigabytes * 2**30) for gigabytes in (16, 80, 141)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]
    assert gpu.fitting("R50x1", 224, "mixed_bfloat16", 141 * 2**30) == 128


def test_what_is_left_out_says_why(monkeypatch):
    case = (gpu.OURS, "R50x1", 224)
    cells = gpu.row(case, 128, "bfloat16", None, time.monotonic() + gpu.LEAST_SECONDS - 1).split(" | ")
    assert cells[:2] == ["bit_keras, R50x1, 224 pixels", "left out: no time remained"]
    assert len(cells) == 7
    monkeypatch.setitem(gpu._NEEDS, gpu.OURS, ("jax", "a_package_of_nobody"))
    assert "left out: a_package_of_nobody not installed" in gpu.row(case, 128, "bfloat16", None, time.monotonic() + 99)


def test_a_case_is_ended_after_its_time_and_a_failed_one_says_why(monkeypatch, tmp_path):
    slow, broken = tmp_path / "slow", tmp_path / "broken"
    slow.write_text("#!/bin/sh\nsleep 60 & wait\n")
    broken.write_text("#!/bin/sh\necho 'RESOURCE_EXHAUSTED: out of | memory' >&2; exit 1\n")
    for program in (slow, broken):
        program.chmod(0o755)
    monkeypatch.setattr(gpu.flags, "FLAGS", types.SimpleNamespace(tiny=True))
    monkeypatch.setattr(gpu.sys, "executable", str(slow))
    start = time.monotonic()
    assert gpu._result((gpu.OURS, "R50x1", 224), 4, "bfloat16", 0.5) == (None, "not finished after 0 s")
    assert time.monotonic() - start < 10
    monkeypatch.setattr(gpu.sys, "executable", str(broken))
    fault = gpu._result((gpu.OURS, "R50x1", 224), 4, "bfloat16", 30)[1]
    assert fault == "failed: RESOURCE_EXHAUSTED: out of / memory"


def test_it_ends_within_eight_minutes():
    assert gpu.TOTAL_SECONDS < 8 * 60  # a case begins only with time left, and is ended when it is over


def test_without_a_gpu_it_says_what_to_do(run_program, tmp_path):
    done = run_program("benchmarks.gpu", environment={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "gpu needs an NVIDIA GPU, and nvidia-smi is not installed here; --tiny tries the program" in done.stderr
    assert "Traceback" not in done.stderr
