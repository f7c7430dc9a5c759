"""The dry run: shapes, work, sizes and passes against hand-worked values and against a real run."""

import io

import pytest
import torch
from rich.console import Console
from torch import nn

from brevitas_defakeq.config import DefakeQConfig, FinalPassConfig, ReconstructionConfig, VEFTConfig
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.prepare.plan import make_plan
from brevitas_defakeq.report.inspection_report import inspect_detector, inspection_table
from brevitas_defakeq.run_estimate import expected_passes, expected_size


class Twice(nn.Module):
    """A layer called twice, one never reached, one with no quantized form."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.again = nn.Conv2d(4, 4, 1)
        self.spare = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        x = self.up(self.first(x))
        x = self.again(self.again(x).relu())
        return self.head(x.mean(dim=(2, 3)))


@pytest.fixture
def found():
    detector = Detector(Twice().eval(), "twice", Preprocessing((8, 8)))
    return inspect_detector(detector, DefakeQConfig(average_bits=4))


def test_what_is_quantized_and_what_is_not(found):
    rows = {row["name"]: row for row in found["layers"]}
    assert list(rows) == ["first", "up", "again", "head"]
    assert rows["first"]["shape"] == [4, 3, 3, 3] and rows["first"]["weights"] == 108
    assert rows["first"]["macs"] == 108 * 64, "8 x 8 positions"
    assert rows["again"]["calls"] == 2 and rows["again"]["macs"] == 2 * 16 * 256
    assert rows["again"]["share"] == pytest.approx(16 / 192)
    assert "never reached" in found["left_float"]["spare"]
    assert found["detector"] == "twice" and found["input_size"] == [8, 8] and found["average_bits"] == 4


def test_the_table_names_everything(found):
    console = Console(file=io.StringIO(), width=150)
    console.print(inspection_table(found))
    text = console.file.getvalue()
    for word in ("first", "4x3x3x3", "called 2 times", "spare", "never reached", "up", "float", "4.00 bits"):
        assert word in text


def test_a_run_shows_where_its_error_comes_from(found):
    """Shares of the weights and of the activations inside a module; without them the table is as before."""
    found["error_sources"] = {
        "weights": {"first": 0.25, "up": 0.5, "again": -0.05, "head": 0.1},
        "activations": {"first.input_quant": 0.15, "up.input_quant": 0.05}, "added_up": 1.0, "error": 0.1,
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=150)
    console.print(inspection_table(found))
    text = console.file.getvalue()
    rows = {line.split()[1]: line for line in text.splitlines() if line.startswith("│ ")}
    assert "25.0 %" in rows["first"] and "15.0 %" in rows["first"] and "-5.0 %" in rows["again"]
    assert "error: weights" in text and "spare" in rows


def test_norms_that_would_be_equalized(tiny):
    detector = Detector(tiny.model(), "tiny", Preprocessing((16, 16)))
    assert "layernorm" not in inspect_detector(detector, DefakeQConfig())
    found = inspect_detector(detector, DefakeQConfig(equalize_layernorm=True))
    assert found["layernorm"] == {
        "block.norm1": "equalized, with block.attn.qkv",
        "block.norm2": "equalized, with block.mlp.fc1",
        "norm": "not equalized: mean reads it",
    }
    console = Console(file=io.StringIO(), width=150)
    console.print(inspection_table(found))
    assert "not equalized: mean reads it" in console.file.getvalue()


def test_the_model_is_left_alone():
    detector = Detector(Twice().train(), "twice", Preprocessing((8, 8)))
    before = {name: tensor.clone() for name, tensor in detector.model.state_dict().items()}
    inspect_detector(detector, DefakeQConfig())
    assert detector.model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.model.state_dict().items())


@pytest.fixture
def plan():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 10), nn.ReLU(), nn.Linear(10, 1)).eval()
    return make_plan(model, torch.zeros(1, 3, 4, 4))


def test_expected_size_by_hand(plan):
    # 490 weights at 4 bits; 11 channels with a half scale, a half bias and a 4-bit zero point; 7 others,
    # and 6000 weights of a layer kept in float
    others = nn.ParameterDict({"gain": torch.zeros(7), "kept": torch.zeros(60, 100)})
    wanted = 245 + 11 * 4.5 + 7 * 2 + 6000 * 4
    assert wanted <= expected_size(plan, 4, others) <= wanted + 2000, "codes and tables, then a header"
    wider = expected_size(plan, 8, others) - expected_size(plan, 4, others)
    assert wider == pytest.approx(245 + 11 * 0.5, abs=1)


def test_expected_passes_grow_with_the_work(plan):
    def passes(images=64, veft=False, **work):
        config = DefakeQConfig(
            reconstruction=ReconstructionConfig(**{"iterations": 0, "batch_size": 16, **work}),
            final=FinalPassConfig(steps=0), veft=VEFTConfig(enabled=veft, contrastive_weight=0.5),
        )  # fmt: skip
        return expected_passes(plan, config, images)

    base = passes()
    assert passes(iterations=20) - base == pytest.approx(3 * 20 * 16 / 64)
    assert passes(iterations=20, veft=True) - base == pytest.approx(2 * 3 * 20 * 16 / 64)
    assert passes(iterations=20, rounding="nearest") == base
    assert passes(iterations=20, rounding="gptq") - base == pytest.approx(1), "each block once for each layer"
    assert passes(iterations=20, unit="layer") == passes(iterations=20), "two layers that are a block each"
    steps, train = 3 * 20 * 16 / 64, 51 / 64  # a fifth is held out; two layers that are a block each
    assert passes(iterations=20, loss="fisher") - base == pytest.approx(steps + 2 * 4 * train)
    with_network = steps + 2 * (train + steps)
    assert passes(iterations=20, loss="prediction-difference") - base == pytest.approx(with_network)
