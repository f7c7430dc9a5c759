"""Interrupted runs: started again they end as an uninterrupted run does, bit for bit."""

import signal

import pytest
import torch

from brevitas_defakeq import UserError, load, quantize
from brevitas_defakeq.resume import Checkpoint

STATE = ".unfinished"


class Interrupting:
    """A listener that raises KeyboardInterrupt at one point, and remembers what it heard."""

    def __init__(self, stage=None, done=None):
        self.point, self.heard = (stage, done), []

    def __call__(self, stage, done, total):
        self.heard.append(stage)
        if (stage, done) == self.point:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def settings(quick_config):
    return quick_config(reconstruction__iterations=10, final__steps=10, veft__enabled=True)


@pytest.fixture(scope="module")
def start(tiny, images, labels, settings):
    def run(out, on_progress, config=settings, seed=0):
        return quantize(
            tiny.model(seed=seed), images, config, labels=labels, out=out, on_progress=on_progress
        )

    return run


@pytest.fixture(scope="module")
def whole(start):
    """The run that nobody interrupts, without a folder."""
    return start(None, Interrupting())


def assert_same(first, second):
    assert first.bits == second.bits
    for variant in ("quantized", "mixed"):
        assert first.packed[variant].keys() == second.packed[variant].keys()
        for kind, tensor in first.packed[variant].items():
            assert torch.equal(tensor, second.packed[variant][kind]), f"{variant}: {kind} differs"


@pytest.mark.parametrize("point", [("reconstruct", 2), ("tune", 3), ("evaluate", 0)])
def test_between_steps(start, whole, tmp_path, point):
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, Interrupting(*point))
    assert not (tmp_path / "config.json").exists(), "an unfinished run looks finished"
    again = Interrupting()
    result = start(tmp_path, again)
    assert "allocate" not in again.heard, "it did not go on where it stopped"
    assert_same(result, whole)
    assert {"calibrate", "reconstruct", "tune"} <= set(result.report["seconds"])
    assert result.report["forward_passes"] == pytest.approx(whole.report["forward_passes"], rel=0.25)
    assert not (tmp_path / STATE).exists()


def test_in_the_middle_of_a_block_and_again(start, whole, tiny, tmp_path, monkeypatch):
    """Twice: in the third block's optimization, then at the last pass."""
    step, left = torch.optim.Adam.step, []

    def counting(*arguments, **options):
        if left and not left.pop():
            raise KeyboardInterrupt
        return step(*arguments, **options)

    def on_progress(stage, done, total):
        if (stage, done) == ("reconstruct", 2):
            left.extend([False] + [True] * 5)  # five more steps

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.Adam, "step", counting)
        start(tmp_path, on_progress)
    assert [file.name for file in (tmp_path / STATE).glob("*.safetensors")] == ["block-002.safetensors"]
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, Interrupting("tune", 5))
    assert_same(start(tmp_path, Interrupting()), whole)
    assert_same(load(tmp_path, detector=tiny.model()), whole)


def test_the_same_command_again_after_the_end(start, tmp_path, quick_config):
    config = quick_config(reconstruction__iterations=1, final__steps=1)
    start(tmp_path, Interrupting(), config)
    written = (tmp_path / "weights.safetensors").read_bytes()
    start(tmp_path, Interrupting(), config)
    assert (tmp_path / "weights.safetensors").read_bytes() == written

    other = quick_config(reconstruction__iterations=2, final__steps=1)
    for change in ({"config": other}, {"config": config, "seed": 1}):
        with pytest.raises(UserError, match="another configuration, detector or calibration set"):
            start(tmp_path, Interrupting(), **change)
    (tmp_path / STATE).mkdir()  # as left by a run that was killed before it kept anything
    with pytest.raises(UserError, match="another configuration"):
        start(tmp_path, Interrupting(), other)
    assert (tmp_path / "weights.safetensors").read_bytes() == written


# ------------------------------------------------------------------------------------------ the state folder


def test_an_unfinished_run_refuses_another_configuration(tmp_path):
    first = Checkpoint(tmp_path, {"seed": 0})
    first.keep("block-000", {"w": torch.ones(2)}, bits={"w": 3})
    with pytest.raises(UserError, match="choose another --out or remove that folder"):
        Checkpoint(tmp_path, {"seed": 1})
    again = Checkpoint(tmp_path, {"seed": 0})
    assert again.notes == {"bits": {"w": 3}, "stage": "block-000"}
    assert torch.equal(again.tensors()["w"], torch.ones(2))


def test_damaged_states_are_told(tmp_path):
    kept = Checkpoint(tmp_path, {})
    kept.keep("block-000", {"w": torch.ones(200)})
    file = tmp_path / STATE / "block-000.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match="remove it to start afresh"):
        Checkpoint(tmp_path, {}).tensors()
    (tmp_path / STATE / "state.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        Checkpoint(tmp_path, {})


def test_without_a_folder_nothing_is_kept():
    checkpoint = Checkpoint(None, {})
    checkpoint.keep("block-000", {"w": torch.ones(2)})
    checkpoint.done()
    assert checkpoint.tensors() is None


# ------------------------------------------------------------------------------------------ real processes


#: Steps a block: a signal that is sent in mid-run has to arrive before its end.
LONG = 60


def test_signals(workplace):
    """SIGINT is answered with one line; after it, as after SIGKILL, the same command ends the same."""

    def stopped(out, kill_by):
        blocks = [workplace.folder / out / STATE / f"block-{index:03d}.safetensors" for index in (2, 3)]
        return workplace.quantize(out=out, iterations=LONG, kill_when=blocks, kill_by=kill_by)

    line = "interrupted; the same command goes on where it stopped"
    asked = stopped("stopped", signal.SIGINT)
    assert (asked.status, asked.output, asked.one_line()) == (130, "", line)
    assert stopped("killed", signal.SIGKILL).status == -signal.SIGKILL

    assert workplace.quantize(out="whole", iterations=LONG).status == 0
    whole = workplace.folder / "whole"
    for out in ("stopped", "killed"):
        folder = workplace.folder / out
        assert (folder / STATE).exists() and not (folder / "config.json").exists()
        other = workplace.quantize("--seed", 1, out=out, iterations=LONG)
        assert other.status == 2 and "another configuration" in other.one_line()
        assert workplace.quantize(out=out, iterations=LONG).status == 0
        for name in ("weights.safetensors", "mixed.safetensors", "config.json"):
            assert (folder / name).read_bytes() == (whole / name).read_bytes(), f"{out}: {name} differs"
        assert not (folder / STATE).exists()
