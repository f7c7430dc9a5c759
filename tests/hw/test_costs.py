"""Costs by width: the layers' names, the widths' effect against networks of those widths, what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from brevitas_defakeq import UserError, quantize
from brevitas_defakeq.haq.hardware_costs_file import read_costs
from brevitas_defakeq.imaging.preprocessing import Preprocessing

pytestmark = pytest.mark.fpga
ROOT = Path(__file__).resolve().parents[2]
SIZE, RATE = 16, 20_000.0


class Net(nn.Module):
    """A stem, a depthwise-separable residual, a pooled head: a layer of each kind that FINN multiplies in.

    Without ``residual`` it is a chain, which has a form with zero points too.
    """

    def __init__(self, residual=True):
        super().__init__()
        self.residual = residual
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.expand = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU())
        self.project = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8 if residual else 8 * (SIZE // 2) ** 2, 1)

    def forward(self, images):
        images = self.stem(images)
        inside = self.project(self.depthwise(self.expand(images)))
        return self.head((images + inside).mean((2, 3)) if self.residual else inside.flatten(1))


SHAPES = {
    "stem.0": (8, 3, 3, 3), "expand.0": (16, 8, 1, 1), "depthwise.0": (16, 1, 3, 3), "project": (8, 16, 1, 1),
    "head": (1, 8),
}  # fmt: skip
RESOURCES = {"lut": "LUT", "bram": "BRAM_18K", "dsp": "DSP"}


@pytest.fixture(scope="module")
def run(quick_config):
    """``run(costs, **settings)``: the same small network quantized, hardly anything learned."""
    torch.manual_seed(0)
    networks, images = {kind: Net(kind).eval() for kind in (True, False)}, torch.rand(16, 3, SIZE, SIZE)
    prepared = Preprocessing((SIZE, SIZE), mean=(0.5,) * 3, std=(0.5,) * 3)

    def get(costs=None, residual=True, **settings):
        fixed = {"reconstruction__iterations": 0, "reconstruction__matching": "none", "final__steps": 0}
        config = quick_config(**{"samples": 16, "target": "fpga", **fixed, **settings})
        return quantize(networks[residual], images, config, costs=costs, preprocessing=prepared)

    return get


@pytest.fixture(scope="module")
def profile(run, tmp_path_factory):
    """``profile(**settings)``: the FINN profile of such a run."""
    from brevitas_defakeq.export.finn.export_finn import export_finn

    done = {}

    def get(**settings) -> Path:
        key = json.dumps(settings)
        if key not in done:
            done[key] = tmp_path_factory.mktemp("profile")
            export_finn(run(**settings), done[key])
        return done[key] / "model.onnx"

    return get


@pytest.fixture(scope="module")
def costs(profile):
    """``costs(rates, **settings)``: the content of the file for such a run's profile."""
    from hw.boards import board_named
    from hw.costs import costs as made

    done = {}

    def get(rates=(RATE,), **settings) -> dict:
        key = json.dumps([rates, settings])
        if key not in done:
            done[key] = made(profile(**settings), board_named("Pynq-Z1"), rates)
        return done[key]

    return get


def one_width(bits):
    return {"candidate_bits": (bits,), "average_bits": bits}


def asked_of_finn(path, table):
    """The nodes of a profile, converted and folded as it is: what FINN's own estimators say of each.

    Its thresholds lie where those of the table do: that is chosen for a network as a whole.
    """
    from qonnx.custom_op.registry import getCustomOp

    from hw.boards import board_named
    from hw.finn_quirks import quiet_finn
    from hw.read_profile import read_profile
    from hw.steps import run_step, to_hardware

    board = board_named("Pynq-Z1")
    with quiet_finn():
        graph = run_step("specialize", to_hardware(read_profile(path)), board)
        graph = run_step("decompose", run_step("fold", graph, board, table["fps"]), board)
        for node in graph.get_nodes_by_op_type("Thresholding_rtl"):
            for name, depth in table["thresholds"].items():
                getCustomOp(node).set_nodeattr(name, depth)
        return [
            {"kind": node.op_type, "cycles": getCustomOp(node).get_exp_cycles(),
             **getCustomOp(node).node_res_estimation(board.part)}
            for node in graph.graph.node
        ]  # fmt: skip


def products(nodes):
    """Those that multiply by weights, in the order of the graph."""
    return [node for node in nodes if node["kind"].startswith(("MVAU", "VVAU"))]


def test_layers_have_torchs_names_and_shapes(costs):
    found = costs(**one_width(8))
    assert {name: tuple(layer["weight_shape"]) for name, layer in found["layers"].items()} == SHAPES
    assert {layer["zero_point_bits"] for layer in found["layers"].values()} == {0}
    assert found["bits"] == [2, 3, 4, 5, 6, 7, 8] and found["board"] == "Pynq-Z1"
    (table,) = found["tables"]
    assert table["fps"] == RATE and table["cycles"] <= 100e6 / RATE
    slowest = max(max(layer["cycles"]) for layer in table["layers"].values())
    assert table["cycles"] == max(slowest, table["fixed"]["cycles"])


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_a_width_costs_what_a_network_of_that_width_does(costs, profile, bits):
    """The profile at 8 bits says what one at ``bits`` takes; FINN is asked about that one as it is."""
    table = costs(**one_width(8))["tables"][0]
    alone, layers = asked_of_finn(profile(**one_width(bits)), table), table["layers"]
    for (name, shape), node in zip(SHAPES.items(), products(alone), strict=True):
        assert layers[name]["style"][bits - 2] == node["kind"][-3:], name
        assert layers[name]["dsp"][bits - 2] == node["DSP"], (name, shape)
        assert layers[name]["cycles"][bits - 2] >= node["cycles"]
    for ours, theirs in RESOURCES.items():
        whole = table["fixed"][ours] + sum(layer[ours][bits - 2] for layer in layers.values())
        # sums are as wide as the weights' own values make them, which differ a little
        assert whole == pytest.approx(sum(node[theirs] for node in alone), rel=0.05, abs=1), ours


def test_zero_points_take_their_bit(costs):
    """Weights of b bits and zero points are built as those of b + 1 bits without: in RTL from 3 bits on."""
    with_them = costs(**one_width(4), target="any", residual=False)
    without = costs(**one_width(4), residual=False)
    assert {layer["zero_point_bits"] for layer in with_them["layers"].values()} == {1}
    for name in SHAPES:
        own, other = (found["tables"][0]["layers"][name] for found in (with_them, without))
        assert own["style"][:6] == other["style"][1:], name


def test_a_faster_table_takes_more(costs):
    slow, fast = costs((1000.0, RATE), **one_width(8))["tables"]
    assert (slow["fps"], fast["fps"]) == (1000, RATE) and slow["cycles"] > fast["cycles"]
    for resource in ("lut", "dsp"):
        total = [sum(sum(layer[resource]) for layer in table["layers"].values()) for table in (slow, fast)]
        assert total[0] < total[1], resource


def test_without_a_rate_as_fast_as_the_board_allows(costs):
    (table,) = costs((), **one_width(8))["tables"]
    assert table["fps"] > RATE
    figures = {name: table["fixed"][name] + sum(layer[name][6] for layer in table["layers"].values())
               for name in ("lut", "dsp")}  # fmt: skip
    assert figures["lut"] <= 0.7 * 53_200 * 1.05 and figures["dsp"] <= 0.8 * 220


def test_a_budget_kept_on_the_chip(costs, run, tmp_path):
    """From the costs to widths, and back to FINN: the exported run takes what its report says."""
    from brevitas_defakeq.export.finn.export_finn import export_finn

    file = tmp_path / "costs.json"
    file.write_text(json.dumps(costs(**one_width(8))))
    read = read_costs(file)
    least = read.tables[0].fixed["lut"] + sum(min(layer["lut"]) for layer in read.tables[0].layers.values())
    widths = (2, 3, 4, 5, 6, 7, 8)
    result = run(file, candidate_bits=widths, average_bits=None, budget={"lut": 1.2 * least, "dsp": 12})
    estimated = result.report["hardware"]["estimated"]
    assert estimated["lut"] <= 1.2 * least and estimated["dsp"] <= 12
    export_finn(result, tmp_path)
    nodes = asked_of_finn(tmp_path / "model.onnx", costs(**one_width(8))["tables"][0])
    for ours, theirs in RESOURCES.items():
        assert estimated[ours] == pytest.approx(sum(node[theirs] for node in nodes), rel=0.05, abs=1), ours
    with pytest.raises(UserError, match=r"lut=.*need [0-9.]+ LUT"):
        run(file, candidate_bits=widths, average_bits=None, budget={"lut": least - 1})


# ------------------------------------------------------------------------------------------ the command


def command(*arguments, code="from hw.costs import main; sys.exit(main(sys.argv[1:]))"):
    program = [sys.executable, "-c", f"import sys; sys.path[0] = {str(ROOT)!r}; {code}", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, timeout=200)


def test_the_command_never_imports_torch(profile, tmp_path):
    """In a process of its own, which looks for torch among its modules at the end."""
    out = tmp_path / "costs.json"
    done = command(
        profile(**one_width(8)), "--board", "pynq-z1", "--fps", RATE, "--out", out,
        code="from hw.costs import main; sys.exit(main(sys.argv[1:]) or 3 * ('torch' in sys.modules))",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_costs(out).of_layers(SHAPES, (2, 8)).board == "Pynq-Z1"


def test_as_a_file(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "hw" / "costs.py", "--help"], cwd=tmp_path, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and "--board" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--board", "zybo"), "--board zybo: unknown; choose one of Pynq-Z1"),
        (("--board", "ECP5-85"), "--board ECP5-85"),
        (("--board", "Pynq-Z1", "--fps", "0"), "frames per second must be a number above 0"),
        (
            ("--board", "Pynq-Z1", "--fps", "1e9"),
            "--fps 1e+09: no folding reaches it; the highest rate at 100 MHz",
        ),
        ((), "--board"),
    ],
)
def test_the_command_refuses(profile, tmp_path, options, message, capsys):
    from hw.costs import main

    assert main([str(profile(**one_width(8))), "--out", str(tmp_path / "costs.json"), *options]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("hw/costs.py: ") and said.err.count("\n") == 1
    assert message in said.err and not (tmp_path / "costs.json").exists()


def test_what_is_no_profile_is_refused(tmp_path, capsys):
    from hw.costs import main

    (tmp_path / "report.json").write_text("{}")
    for name, message in (("report.json", "not a FINN profile"), ("nowhere.onnx", "does not exist")):
        arguments = [str(tmp_path / name), "--board", "Pynq-Z1", "--out", str(tmp_path / "costs.json")]
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
