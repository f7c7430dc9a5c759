"""A network whose products no layer computes goes all the way: run, run folder, every exported form."""

import onnx
import product_networks
import pytest
import torch

from brevitas_defakeq import UserError, export_onnx, load, quantize
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.export import executorch
from brevitas_defakeq.export.integer_modules import integer_export_modules
from brevitas_defakeq.export.qonnx_modules import qonnx_export_modules
from brevitas_defakeq.nn.attention import PRODUCT_OPERANDS
from brevitas_defakeq.quant.activation_quantizer import activation_proxies


@pytest.fixture(scope="module")
def runs(images, quick_config):
    """``runs(target)``, each computed once."""
    made = {}

    def run(target):
        if target not in made:
            config = quick_config(target=target, reconstruction__iterations=3, final__steps=2)
            made[target] = quantize(resolve("product_networks:build"), images, config)
        return made[target]

    return run


@pytest.mark.parametrize("target", ["any", "mobile"])
def test_all_is_quantized_and_loads_again(runs, target, images, tmp_path):
    result = runs(target)
    float_model = product_networks.build()[0]
    folded = 4 * 8 + 2 * 16  # the BatchNorm's gain and shift, and q's and v's biases
    inside = sum(layer.num_params + layer.weight_shape[0] for layer in result.plan.layers)
    assert inside >= 0.98 * (sum(p.numel() for p in float_model.parameters()) - folded)
    proxies = activation_proxies(result.quantized)
    assert all(f"attention.{operand}.act_quant" in proxies for operand in PRODUCT_OPERANDS)
    for name, bits in result.bits.items():
        weight = result.quantized.get_submodule(name).weight
        assert all(len(row.unique()) <= 2 ** round(bits) for row in weight), name
    with torch.no_grad():
        wanted, found = float_model(images), result.quantized(images)
        assert (found - wanted).std() < 0.5 * wanted.std()
        result.save(tmp_path)
        again = load(tmp_path)
        assert torch.equal(again.quantized(images), found)
        assert torch.equal(again.mixed(images), result.mixed(images))


def test_another_architecture_is_refused(runs, tiny, tmp_path):
    runs("any").save(tmp_path)
    with pytest.raises(UserError, match="was made from another detector"):
        load(tmp_path, tiny.model())


@pytest.mark.parametrize(("target", "variant"), [("mobile", "quantized"), ("any", "mixed")])
def test_onnx(runs, target, variant, images, tmp_path):
    card = export_onnx(runs(target), tmp_path, variant=variant, verify=images)
    assert card.patterns["float ConvTranspose"] == 1
    kinds = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert kinds.count("ConvTranspose") == 1 and kinds.count("Conv") == 3
    if target == "mobile":
        assert card.patterns["runs as QLinearConv"] == 3, "Conv1d's too: its output is quantized"
        assert card.patterns["integer MatMul"] == 6


def test_integer_modules(runs, images):
    result = runs("mobile")
    made, weights = integer_export_modules(result, result.quantized, executorch.EXECUTORCH.layers)
    assert list(weights) == list(result.bits)
    with torch.no_grad():
        found = torch.cat([made(image[None]) for image in images])
        wanted = result.observer(result.quantized, images)[0]
    # Its Linear quantizes token by token.
    assert (found - wanted).std() < 0.5 * wanted.std()


def test_qonnx_names_the_layer_that_it_cannot_hold(runs):
    with pytest.raises(UserError, match="up: QONNX has no quantizer for a ConvTranspose with groups"):
        qonnx_export_modules(runs("any").quantized, runs("any").plan)
