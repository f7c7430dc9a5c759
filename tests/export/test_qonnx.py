"""Runs as QONNX: executed by qonnx against torch, and read as what the run says it is."""

import json
import random
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from small_networks import Residual, small_vit
from timm.models.vision_transformer import Block
from torch import nn

from brevitas_defakeq import UserError, export_qonnx, load, quantize
from brevitas_defakeq.export import qonnx_runtime
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.runtime import Card

SIDE = 16
PREPROCESSING = Preprocessing((SIDE, SIDE))


def random_cnn(seed: int) -> nn.Module:
    """Depth, kernels, strides, groups, residual blocks and pooling by chance."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    channels = 8
    layers = [nn.Conv2d(3, channels, 3, draw.choice((1, 2)), 1), nn.ReLU()]
    for _ in range(draw.randint(2, 4)):
        kind = draw.choice(("conv", "depthwise", "residual", "pool"))
        kernel, stride = draw.choice((1, 3, 5)), draw.choice((1, 2))
        if kind == "conv":
            after = draw.choice((6, 12))
            layers += [nn.Conv2d(channels, after, kernel, stride, kernel // 2, bias=False)]
            layers += [nn.BatchNorm2d(after), draw.choice((nn.ReLU(), nn.ReLU6()))]
            channels = after
        elif kind == "depthwise":
            layers += [
                nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels),
                nn.ReLU6(),
            ]
        elif kind == "residual":
            body = nn.Sequential(
                nn.Conv2d(channels, channels, 3, 1, 1, groups=channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 1),
            )
            layers += [Residual(body, draw.choice((nn.ReLU(), nn.Identity())))]
        else:
            layers += [draw.choice((nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1)))]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, draw.choice((1, 2)))]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def made(images, quick_config):
    """``made(model, **changes)``: a quick run."""

    def run(model, **changes):
        settings = {"reconstruction__iterations": 3, "final__steps": 2, "veft__fraction": 0.2, **changes}
        return quantize(model, images, quick_config(**settings), preprocessing=PREPROCESSING)

    return run


@pytest.fixture(scope="module")
def vit(made):
    """A transformer for integer hardware."""
    return made(small_vit(SIDE), average_bits=4, target="fpga")


@pytest.fixture(scope="module")
def files(vit, tmp_path_factory):
    """Both variants of it, exported without a check."""
    folder = tmp_path_factory.mktemp("vit")
    for variant in ("quantized", "mixed"):
        export_qonnx(vit, folder / variant, variant=variant)
    return {variant: Graph(folder / variant / "model.onnx") for variant in ("quantized", "mixed")}


class Graph:
    """An exported file, its initializers and who makes each value."""

    def __init__(self, path) -> None:
        self.model = onnx.load(path)
        self.nodes = {node.name: node for node in self.model.graph.node}
        self.values = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}
        self.makers = {name: node for node in self.model.graph.node for name in node.output}

    def quant(self, node) -> dict:
        """Fields of a Quant node; ``codes`` of a constant one."""
        x, scale, zero_point, bits = (self.values.get(name) for name in node.input)
        fields = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        found = {"scale": scale, "zero_point": zero_point, "bits": float(bits), **fields}
        return found if x is None else {**found, "codes": x / scale + zero_point, "values": x}

    def weights(self, layer: str) -> list[dict]:
        """The quantizers behind a layer's weight: one, or that of the codes and that of restored channels."""
        node = self.makers[self.nodes[layer].input[1]]
        if node.op_type == "Gather":
            node = self.makers[node.input[0]]
            assert node.op_type == "Concat"
            return [self.quant(self.makers[name]) for name in node.input]
        return [self.quant(node)]

    def activations(self) -> list[dict]:
        found = [self.quant(node) for node in self.model.graph.node if node.op_type == "Quant"]
        return [fields for fields in found if "codes" not in fields]

    def run(self, images) -> np.ndarray:
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx

        wrapped = ModelWrapper(self.model)
        name = self.model.graph.input[0].name
        return np.array(
            [execute_onnx(wrapped, {name: image[None].numpy()})["global_out"].item() for image in images]
        )


@torch.no_grad()
def torch_logits(run, variant, images) -> np.ndarray:
    return np.array([float(run.observer(getattr(run, variant), image[None])[0]) for image in images])


def same(found, wanted, tolerance=1e-5) -> bool:
    scale = max(np.ptp(wanted), np.abs(wanted).max())
    return bool(np.abs(found - wanted).max() <= tolerance * scale)


# Torch and qonnx ---------------------------------------------------------------------------------------


@pytest.mark.fpga
@pytest.mark.parametrize("target", ["any", "fpga"])
@pytest.mark.parametrize("seed", range(3))
def test_random_networks(seed, target, made, images, tmp_path):
    bits = random.Random(seed).choice((2.5, 3.0, 4.5))
    run = made(random_cnn(seed), average_bits=bits, target=target, candidate_bits=(2, 3, 4, 5, 6, 8))
    for variant in ("quantized", "mixed"):
        export_qonnx(run, tmp_path / variant, variant=variant, verify=images[:4])
        assert same(
            Graph(tmp_path / variant / "model.onnx").run(images[4:6]), torch_logits(run, variant, images[4:6])
        )


@pytest.mark.fpga
@pytest.mark.parametrize("variant", ["quantized", "mixed"])
@pytest.mark.parametrize("target", ["any", "fpga"])
def test_a_transformer(target, variant, made, vit, images, tmp_path):
    run = vit if target == "fpga" else made(small_vit(SIDE), average_bits=3)
    card = export_qonnx(run, tmp_path, variant=variant, verify=images[:2], licence="MIT")
    assert same(Graph(tmp_path / "model.onnx").run(images[4:6]), torch_logits(run, variant, images[4:6]))
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model_card.json"}
    assert Card.read(tmp_path / "model_card.json") == card
    assert (card.format, card.licence, card.bits) == ("qonnx", "MIT", run.bits)
    assert card.provenance["agreement"]["typical"] <= 1e-5


SETTINGS = {
    "three levels": {"average_bits": 1.8, "candidate_bits": (1.6, 2, 4), "activation_bits": 4},
    "channels in float": {"average_bits": 3, "activation_bits": 16, "mixed_channel_bits": 32},
    "float activations": {"average_bits": 3, "activation_bits": None},
    "mobile": {"average_bits": 4, "target": "mobile"},
}


@pytest.mark.fpga
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings(setting, made, tiny, images, tmp_path):
    run = made(tiny.model("two"), **SETTINGS[setting])
    variant = "mixed" if setting == "channels in float" else "quantized"
    export_qonnx(run, tmp_path, variant=variant)
    graph = Graph(tmp_path / "model.onnx")
    tolerance = 2e-4 if run.config.activation_bits == 16 else 1e-5  # float32 cannot tell 16-bit codes apart
    assert same(graph.run(images[:2]), torch_logits(run, variant, images[:2]), tolerance)
    assert {fields["bits"] for fields in graph.activations()} == {run.config.activation_bits} - {None}
    if setting == "three levels":
        ternary = next(name for name, bits in run.bits.items() if bits == 1.6)
        (fields,) = graph.weights(ternary + ".q" * ternary.endswith("qkv"))
        assert fields["bits"] == 2 and len(np.unique(fields["codes"].round())) <= 3


# What the file holds -------------------------------------------------------------------------------------


def rounds(values) -> bool:
    return bool(np.abs(values - values.round()).max() < 1e-2)  # half of float32's last digit at 16 bits


@pytest.mark.fpga
def test_the_codes_are_the_runs(vit, files):
    """Hardware's variant: symmetric narrow weights of each layer's width, zero points 0, 16-bit channels."""
    graph, restored = files["mixed"], 0
    for layer in vit.plan.layers:
        parts = [f"{layer.name}.{part}" for part in "qkv"] if layer.name.endswith("qkv") else [layer.name]
        for name in parts:
            for index, fields in enumerate(graph.weights(name)):
                assert (fields["signed"], fields["narrow"]) == (1, 1) and fields["zero_point"] == 0
                bits = fields["bits"]
                restored += bits == 16
                assert bits == 16 or (bits == vit.bits[layer.name] and index == 0)
                largest = 2 ** (bits - 1) - 1
                assert rounds(fields["codes"]) and np.abs(fields["codes"]).max() <= largest + 1e-2
                axis = 0 if fields["values"].ndim == 4 else 1
                shape = [1] * fields["values"].ndim
                shape[axis] = fields["values"].shape[axis]
                assert list(fields["scale"].shape) == shape
    assert restored
    activations = graph.activations()
    assert all(fields["zero_point"] == 0 and fields["bits"] == 8 for fields in activations)
    assert {fields["scale"].shape for fields in activations} == {()}
    unsigned = [fields for fields in activations if not fields["signed"]]
    assert len(unsigned) == len(vit.plan.attentions), "the softmax"


@pytest.mark.fpga
def test_sums_read_codes_of_one_scale(files):
    graph = files["quantized"]

    def steps(name) -> set:
        """Scales of the quantizers that a value consists of."""
        node = graph.makers[name]
        if node.op_type == "Quant":
            return {float(graph.values[node.input[1]])}
        return set().union(*(steps(source) for source in node.input if source in graph.makers))

    sums = [node for node in graph.model.graph.node if node.op_type in ("Add", "Concat")]
    joined = [node for node in sums if all(name in graph.makers for name in node.input)]
    assert len(joined) == 4, "class token, positions, and two residual sums"
    assert all(len(steps(node.input[0]) | steps(node.input[1])) == 1 for node in joined)


@pytest.mark.fpga
def test_asymmetric_zero_points(made, tmp_path):
    run = made(random_cnn(0), average_bits=3)
    export_qonnx(run, tmp_path)
    graph = Graph(tmp_path / "model.onnx")
    assert any(fields["zero_point"] != 0 for fields in graph.activations())
    for name, bits in run.bits.items():
        (fields,) = graph.weights(name)
        assert (fields["signed"], fields["narrow"], fields["bits"]) == (0, 0, bits)
        assert rounds(fields["codes"]) and rounds(fields["zero_point"])
        assert fields["codes"].min() >= -1e-3 and fields["codes"].max() <= 2**bits - 1 + 1e-3


@pytest.mark.fpga
def test_form_of_the_graph(files):
    graph = files["quantized"]
    assert {opset.domain: opset.version for opset in graph.model.opset_import}[""] == 20
    shape = [dimension.dim_value for dimension in graph.model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 3, SIDE, SIDE]
    kinds = [node.op_type for node in graph.model.graph.node]
    assert kinds.count("Gelu") == 1 and kinds.count("LayerNormalization") == 3
    assert not {"Erf", "Expand", "Constant", "Shape"} & set(kinds)
    assert len(set(graph.nodes)) == len(kinds), "names are unique"
    assert "blocks.0.mlp.fc1.weight" in graph.values
    assert all(
        node.domain == "qonnx.custom_op.general" for node in graph.model.graph.node if node.op_type == "Quant"
    )


@pytest.mark.fpga
def test_a_layer_called_twice(made, images, tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.same, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Linear(6, 1)

        def forward(self, x):
            x = self.same(self.same(self.stem(x).relu()).relu()).relu()
            return self.head(x.mean((2, 3)))

    torch.manual_seed(0)
    run = made(Twice().eval(), average_bits=4)
    export_qonnx(run, tmp_path, verify=images[:2])
    assert {"stem", "same", "same.2", "head"} <= set(Graph(tmp_path / "model.onnx").nodes)


@pytest.mark.fpga
def test_masked_and_normalized_attention_keeps_its_own_form(made, images, tmp_path):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 1)
            self.plain = Block(8, num_heads=2, qkv_bias=True)
            self.normed = Block(8, num_heads=2, qkv_bias=True, qk_norm=True)
            self.register_buffer("mask", torch.ones(16, 16, dtype=torch.bool).tril())

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            return self.head(self.normed(self.plain(x, attn_mask=self.mask))[:, 0])

    torch.manual_seed(0)
    run = made(Tokens().eval(), average_bits=4)
    export_qonnx(run, tmp_path, verify=images[:2])
    names = set(Graph(tmp_path / "model.onnx").nodes)
    assert "plain.attn.qkv.q" in names and "normed.attn.qkv" in names


# Refusals ------------------------------------------------------------------------------------------------


@pytest.mark.fpga
def test_a_file_that_disagrees_is_not_written(vit, images, tmp_path, monkeypatch):
    really = qonnx_runtime.executed
    monkeypatch.setattr(qonnx_runtime, "executed", lambda model, image: really(model, image) + 0.01)
    with pytest.raises(UserError, match="disagrees with the model: off by .* nothing was written"):
        export_qonnx(vit, tmp_path / "out", verify=images[:2])
    assert not (tmp_path / "out").exists()


@pytest.mark.fpga
def test_the_command(workplace):
    assert workplace.quantize("--target", "fpga", "--json").status == 0
    arguments = (
        "export",
        "run",
        "--format",
        "qonnx",
        "--which",
        "mixed",
        "--out",
        "out",
        "--data",
        "faces",
        "--json",
    )
    outcome = workplace(*arguments)
    assert outcome.status == 0, outcome.errors
    assert outcome.json()["provenance"]["agreement"]["verdicts"] == 1
    card = json.loads((workplace.folder / "out" / "model_card.json").read_text())
    assert card["provenance"]["agreement"]["images"] == 8
    refused = workplace("export", "run", "--format", "qonnx", "--pixels", "--out", "out")
    assert refused.status == 2 and "--pixels" in refused.one_line()


def test_a_missing_extra_is_named(vit, tmp_path, monkeypatch):
    for name in ("qonnx", "qonnx.core", "qonnx.core.modelwrapper", "qonnx.util.cleanup"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'brevitas_defakeq\[fpga\]'") as caught:
        export_qonnx(vit, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_form_that_has_no_file(vit, tmp_path):
    with pytest.raises(UserError, match="choose of quantized, mixed"):
        export_qonnx(vit, tmp_path, variant="float")


# The run -------------------------------------------------------------------------------------------------


def test_a_hardware_run_is_saved_and_loaded(vit, images, tmp_path):
    """Class token and position table lie as codes on the patches' step."""
    vit.save(tmp_path)
    again = load(tmp_path, detector=small_vit(SIDE))
    for variant in ("quantized", "mixed"):
        assert np.array_equal(
            torch_logits(again, variant, images[:4]), torch_logits(vit, variant, images[:4])
        )
    assert vit.packed["quantized"]["embeddings"].numel() == 12 + 5 * 12
    assert vit.packed["mixed"]["restored_codes_16"].dtype == torch.int16
    assert not any(kind.startswith("zero_points") for kind in vit.packed["mixed"])
