"""Whole runs on small detectors: the size is met, reconstruction helps, the row holds what others read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.compression.__main__ import target_bytes
from benchmarks.compression.candidate import Candidate, Removal, of_size
from benchmarks.compression.measured_run import METHODS, compress, measured
from benchmarks.compression.stored_file import file_bytes
from benchmarks.measures import by_dataset
from brevitas_defakeq.artifact import float_bytes
from brevitas_defakeq.calibration_set import from_tensors
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
#: Bytes of the tiny detector's units are large: a share of it that each method reaches.
SHARE = 0.42


def layers_of(sizes):
    """A removal whose units are vectors of float16 of these numbers of elements."""

    def without(gone):
        kept = [size for index, size in enumerate(sizes) if index not in set(gone.tolist())]
        return Candidate.whole(nn.ParameterList([nn.Parameter(torch.zeros(size)) for size in kept]))

    return Removal("made up", len(sizes), without)


@pytest.mark.parametrize("share", [0.3, 0.55, 0.9])
def test_bisection_meets_a_size_within_one_percent(share):
    removal = layers_of([400] * 300)
    whole = file_bytes(removal.without(torch.arange(0)).finished())
    target = int(share * whole)
    candidate, gone = of_size(removal, target)
    assert 0.99 * target <= file_bytes(candidate.finished()) <= target
    assert gone == pytest.approx(1 - share, abs=0.02)


def test_a_unit_too_large_for_the_target_goes_and_small_ones_come_back():
    """The large unit is the 51st to go; without it 30 of the small ones fit again."""
    removal = layers_of([1000] * 50 + [30_000] + [1000] * 100)
    target = file_bytes(removal.without(torch.arange(51)).finished()) + 59_000
    candidate, _ = of_size(removal, target)
    sizes = [len(parameter) for parameter in candidate.finished().parameters()]
    assert 30_000 not in sizes and len(sizes) > 100
    assert 0.99 * target <= file_bytes(candidate.finished()) <= target


@pytest.mark.parametrize(("target", "words"), [(10, "at least"), (10**9, "at most")])
def test_sizes_out_of_reach_are_refused(target, words):
    with pytest.raises(UserError, match=words):
        of_size(layers_of([1000] * 10), target)


@pytest.mark.parametrize("method", METHODS)
def test_a_compressed_detector_meets_the_size_and_reconstruction_brings_it_nearer(jobs, detectors, method):
    job = jobs("tiny")
    target = int(SHARE * float_bytes(detectors("tiny").model))
    found = compress(job, method, target)
    assert 0.99 * target <= len(found.content) <= target
    assert len(found.content) == file_bytes(found.model)
    assert all(block["after"] <= block["before"] for block in found.blocks)
    assert sum(block["after"] for block in found.blocks) < sum(block["before"] for block in found.blocks)
    wanted = job.reference(job.images)
    errors = [(model(job.images) - wanted).square().mean() for model in (found.before, found.model)]
    assert errors[1] < errors[0]
    assert set(found.seconds) == {"compress", "reconstruct", "tune"}


def test_the_same_seed_gives_the_same_file(jobs, detectors):
    target = int(SHARE * float_bytes(detectors("tiny").model))
    first, second = (compress(jobs("tiny"), "truncated_svd", target).content for _ in range(2))
    assert first == second


def test_a_row_has_auc_flips_error_bytes_and_seconds(detectors, images, labels, quick_steps):
    detector = detectors("tiny")
    calibration = from_tensors(images, None, 32)
    names = ["in"] * 16 + ["out"] * 16
    target = int(SHARE * float_bytes(detector.model))
    row = measured(
        detector,
        calibration,
        LabelledSet.from_tensors(images, labels, names),
        by_dataset(names),
        "truncated_svd",
        target,
        quick_steps,
    )
    json.dumps(row)
    assert row["size_bytes"] == {
        "float": float_bytes(detector.model),
        "compressed": row["size_bytes"]["compressed"],
    }
    assert row["share_of_float"] == pytest.approx(SHARE, rel=0.01)
    assert set(row["metrics"]) == {"float", "before_reconstruction", "compressed"}
    assert row["metrics"]["float"]["relative_error"] == 0
    compressed = row["metrics"]["compressed"]
    assert compressed["fidelity"]["flips"]["n"] == 32
    assert set(compressed["parts"]) == {"in", "out"}


def test_shares_and_bytes():
    assert target_bytes("10%", 2000) == 200
    assert target_bytes("1500", 2000) == 1500
    for text in ("0", "110%", "ten", "-5%", "nan"):
        with pytest.raises(UserError, match="--bytes"):
            target_bytes(text, 2000)


@pytest.mark.slow
def test_the_command_writes_rows_and_a_table_and_does_not_repeat_them(tmp_path, tiny):
    from PIL import Image

    for label, kind in enumerate(("real", "fake")):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for index in range(8):
            array = np.random.default_rng(16 * label + index).integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(array).save(tmp_path / "data" / kind / f"{index}.png")
    command = [sys.executable, "-m", "benchmarks.compression", "--detector", "tiny_detector:build"]
    command += ["--bytes", f"{100 * SHARE:g}%", "--method", "truncated_svd", "--out", str(tmp_path / "out")]
    command += ["--calibration", str(tmp_path / "data"), "--test", str(tmp_path / "data")]
    command += ["--samples", "16", "--iterations", "5", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/data_files'}"}
    first = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "truncated_svd" in first.stdout
    assert "truncated svd" in (tmp_path / "out/README.md").read_text()
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert again.stdout == ""
