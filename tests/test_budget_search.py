"""The search for a budget, whole: against plain runs, interrupted, and refused."""

import json
from dataclasses import replace
from types import SimpleNamespace as Some

import pytest
import torch

from brevitas_defakeq import UserError, load, pipeline, quantize
from brevitas_defakeq.budget_search import budgets_of, quantize_within, say_reversed
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.quantization_request import QuantizationRequest

BOUND = 0.3


@pytest.fixture(scope="module")
def config(quick_config):
    """Two widths, so five budgets: at most three runs, each of a few steps."""
    return quick_config(
        candidate_bits=(2, 3), reconstruction__iterations=1, final__steps=1, haq__relaxed_steps=20
    )


@pytest.fixture(scope="module")
def validation(drawn):
    return LabelledSet.from_tensors(*drawn(60, seed=4))


@pytest.fixture(scope="module")
def search(tiny, images, labels, config, validation):
    def run(out=None, max_auc_drop=BOUND, **options):
        return quantize_within(
            tiny.model(), images, config, max_auc_drop=max_auc_drop, validation=validation, labels=labels,
            out=out, **options,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def counted():
    """How often the calibration images were run through for ranges and for energies, and runs carried out."""
    return []


@pytest.fixture(scope="module")
def found(search, counted):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("calibrate_", "channel_energies"):
            whole = getattr(pipeline, name)

            def counting(*arguments, whole=whole, name=name, **options):
                counted.append(name)
                return whole(*arguments, **options)

            patch.setattr(pipeline, name, counting)
        return search()


def assert_same(first, second):
    assert first.bits == second.bits and first.config == second.config
    for variant in ("quantized", "mixed"):
        for kind, tensor in first.packed[variant].items():
            assert torch.equal(tensor, second.packed[variant][kind]), f"{variant}: {kind} differs"


def test_it_is_the_plain_run_at_that_budget(found, tiny, images, labels, config):
    record = found.report["search"]
    trials = record["trials"]
    assert record["max_auc_drop"] == BOUND and record["images"] == 60
    budget = found.config.average_bits
    assert budget == min(trial["average_bits"] for trial in trials if trial["allowed"])
    for trial in trials:
        assert trial["allowed"] == (trial["drop_interval"][1] <= BOUND)
        assert trial["allowed"] == (trial["average_bits"] >= budget)
    plain = quantize(tiny.model(), images, replace(config, average_bits=budget), labels=labels)
    assert_same(found, plain)
    assert found.report["budget"] == budget and found.report["metrics"] == plain.report["metrics"]
    json.dumps(found.report, allow_nan=False)


def test_calibration_is_done_once(found, counted):
    assert len(found.report["search"]["trials"]) > 1
    assert sorted(counted) == ["calibrate_", "channel_energies"]


def test_interrupted_it_goes_on_and_tries_nothing_twice(search, found, tiny, tmp_path, monkeypatch):
    """Stopped in the second run, and again after the last trial, when the answer lies in a folder."""
    carried_out, whole = [], QuantizationRequest.carry_out

    def counting(self, job):
        carried_out.append(job.config.average_bits)
        return whole(self, job)

    def in_the_second_run(stage, done, total):
        if len(carried_out) == 2 and stage.endswith("reconstruct") and done == 2:
            raise KeyboardInterrupt

    def after_the_last(stage, done, total):
        heard.append(stage)
        if stage == "evaluate":
            raise KeyboardInterrupt

    monkeypatch.setattr(QuantizationRequest, "carry_out", counting)
    tried, heard = [trial["average_bits"] for trial in found.report["search"]["trials"]], []
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, on_progress=in_the_second_run)
    with pytest.raises(UserError, match="another configuration, detector or calibration set"):
        search(tmp_path, max_auc_drop=0.9)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, on_progress=after_the_last)
    assert carried_out == [*tried[:2], *tried[1:]]
    assert f"{tried[1]:g} bits: allocate" not in heard, "the second run did not go on where it stopped"
    assert not (tmp_path / "config.json").exists()
    result = search(tmp_path)
    assert len(carried_out) == len(tried) + 1, "a finished run was made again"
    assert_same(result, found)
    assert_same(load(tmp_path, tiny.model()), found)
    for key in ("search", "metrics"):
        assert result.report[key] == found.report[key]
    assert {"calibrate", "reconstruct", "tune", "freeze", "evaluate"} <= set(result.report["seconds"])
    assert result.report["forward_passes"] > 0
    assert not (tmp_path / ".unfinished").exists()


def budgets(config):
    """What is tried with the given configuration: two layers of 100 and 300 weights."""
    layers = [Some(name="a", num_params=100), Some(name="b", num_params=300)]
    return budgets_of(config, Some(layers=layers))


def test_the_budgets_that_are_tried(quick_config):
    plain = budgets(quick_config())
    assert plain == [2 + 0.25 * step for step in range(25)] and plain[-1] == 8
    assert budgets(quick_config(candidate_bits=(1.6, 2, 3)))[:4] == [1.6, 1.75, 2.0, 2.25]
    assert budgets(quick_config(candidate_bits=(2, 3)))[-1] == 3
    pinned = budgets(quick_config(haq__pinned={"a": 8}))  # 8 bits of 100 and 2 of 300 weights
    assert pinned[:2] == [3.5, 3.75]


def test_reversed_validation_labels_are_said(validation, caplog):
    frames = FrameTable.from_samples(validation.samples)
    say_reversed(frames, frames.labels.astype(float))
    assert not caplog.text
    say_reversed(frames, -frames.labels.astype(float))
    assert "validation data: float: AUC below 0.5 on all data (0.000)" in caplog.text


def test_bad_calls(search, tiny, images, config):
    with pytest.raises(UserError, match="max_auc_drop=2"):
        search(max_auc_drop=2)
    with pytest.raises(UserError, match="images from files need preprocessing"):
        quantize_within(tiny.model(), images, config, max_auc_drop=0.1, validation="faces")
