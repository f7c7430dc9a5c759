"""Quantizers of integer hardware put into networks: what they do to the values, and that the rest stays."""

import copy

import pytest
import timm
import torch
from brevitas.nn import QuantIdentity
from torch import nn

from brevitas_defakeq.nn.module_tree import modules_by_name
from brevitas_defakeq.prepare.calibrate import calibrate_, quantization_off
from brevitas_defakeq.prepare.hardware_quantizers import limit_ranges_, plain_name, quantizer_at
from brevitas_defakeq.prepare.insert_quantizers import QuantScheme, insert_quantizers_
from brevitas_defakeq.prepare.plan import make_plan
from brevitas_defakeq.quant.activation_quantizer import (
    activation_grid,
    activation_proxies,
    code_range,
    is_shared,
    set_step_,
)
from brevitas_defakeq.quant.bias import product_gain
from brevitas_defakeq.quant.coded_weight import read_codes
from brevitas_defakeq.quant.presets import HAQActPerTensorPositive, HAQActPerTensorSymmetric
from brevitas_defakeq.reconstruct.learned_rounding import affine_groups
from brevitas_defakeq.storage.weights_transfer import WeightsWriter, transfer

BITS = 6
IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.ReLU6(),
            nn.Conv2d(channels, channels, 1),
        )  # fmt: skip

    def forward(self, x):
        return x + self.body(x)


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), Residual(8), Residual(8), nn.Conv2d(8, 12, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 1),
    )  # fmt: skip


def vit():
    model = timm.create_model(
        "deit_tiny_patch16_224", img_size=16, patch_size=8, depth=2, embed_dim=12, num_heads=2, num_classes=1
    )
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module", params=[cnn, vit])
def prepared(request):
    """The float model, its plan, and the calibrated quantized model."""
    torch.manual_seed(0)
    model = request.param().eval()
    plan = make_plan(model, IMAGES)
    quantized = copy.deepcopy(model)
    insert_quantizers_(quantized, plan, QuantScheme((2, 4, 8), BITS, symmetric=True))
    quantized.eval()
    calibrate_(quantized, activation_proxies(quantized), IMAGES.split(4), count=2)
    return model, plan, quantized


@torch.no_grad()
def outputs(model, names):
    """What the modules of these names return."""
    observed = {}
    handles = [
        modules_by_name(model)[name].register_forward_hook(
            lambda _, __, y, name=name: observed.update({name: y})
        )
        for name in names
    ]
    model(IMAGES)
    for handle in handles:
        handle.remove()
    return observed


def whole(values, step) -> bool:
    codes = values / step
    return bool((codes - codes.round()).abs().max() < 1e-3)


def test_switched_off_it_is_the_float_model(prepared):
    model, _, quantized = prepared
    with torch.no_grad(), quantization_off(quantized):
        torch.testing.assert_close(quantized(IMAGES), model(IMAGES), atol=1e-5, rtol=1e-4)


def test_every_site_has_its_quantizer_and_no_other_is_there(prepared):
    _, plan, quantized = prepared
    sites = [site for group in plan.grids.shared for site in group]
    inputs = [f"{layer.name}.input_quant" for layer in plan.layers if layer.name not in plan.grids.ready]
    wanted = [quantizer_at(quantized, site) for site in sites + inputs]
    found = list(activation_proxies(quantized).values())
    assert len(found) == len(wanted) + 4 * len(plan.attentions)
    assert all(any(proxy is other for other in found) for proxy in wanted)
    for site, proxy in zip(sites + inputs, wanted, strict=True):
        scale, zero_point, bits = activation_grid(proxy)
        positive = site in plan.grids.positive
        assert code_range(proxy) == ((0, 63) if positive else (-32, 31)), site
        assert float(zero_point) == 0 and float(bits) == BITS and float(scale) > 0


def test_a_group_has_one_step_and_different_groups_have_others(prepared):
    _, plan, quantized = prepared
    steps = []
    for group in plan.grids.shared:
        found = {float(activation_grid(quantizer_at(quantized, site))[0]) for site in group}
        assert len(found) == 1
        assert all(is_shared(quantizer_at(quantized, site)) == (len(group) > 1) for site in group)
        steps += found
    assert len(set(steps)) == len(steps)


def test_sums_are_whole_numbers_of_their_step(prepared):
    """In the network as it runs: both operands and their sum."""
    _, plan, quantized = prepared
    for group in plan.grids.shared:
        step = float(activation_grid(quantizer_at(quantized, group[0]))[0])
        modules = [site.removesuffix(".output_quant") for site in group if site.endswith(".output_quant")]
        for name, values in outputs(quantized, modules).items():
            codes = (values / step).round()
            assert whole(values, step) and codes.min() >= -32 and codes.max() <= 63, name
            assert len(codes.unique()) > 8, f"{name}: the step is far too wide"
        for name in set(group) - {f"{module}.output_quant" for module in modules}:
            assert whole(quantized.get_parameter(name) if "." in name else getattr(quantized, name), step)
    norms = [name for name in modules_by_name(quantized) if name.endswith("norm2")]
    observed = {}
    for name in norms:  # the sum behind the attention, which no module returns
        modules_by_name(quantized)[name].register_forward_pre_hook(
            lambda _, inputs, name=name: observed.update({name: inputs[0]})
        )
    with torch.no_grad():
        quantized(IMAGES)
    for name, values in observed.items():
        proxy = quantizer_at(quantized, name.replace("norm2", "attn.proj.output_quant"))
        assert whole(values, float(activation_grid(proxy)[0]))


def test_attention_operands(prepared):
    _, plan, quantized = prepared
    for name in plan.attentions:
        attention = modules_by_name(quantized)[name]
        assert code_range(attention.softmax_quant.act_quant) == (0, 63)
        for part in (attention.q_quant, attention.k_quant, attention.v_quant):
            assert code_range(part.act_quant) == (-32, 31)


def test_a_part_of_the_network_leaves_shared_steps_alone(prepared):
    _, _, quantized = prepared
    steps = {id(p.fused_activation_quant_proxy.tensor_quant.scaling_impl.value): p
             for p in activation_proxies(quantized).values()}  # fmt: skip
    for whole_network in (False, True):
        groups = affine_groups(quantized, 1e-3, whole=whole_network)
        learned = {id(group["params"][0]) for group in groups}
        for key, proxy in steps.items():
            assert (key in learned) == (whole_network or not is_shared(proxy))
    assert len(learned) == len(groups), "each step once"


def test_ranges_end_at_their_clips():
    torch.manual_seed(0)
    model = cnn().eval()
    plan = make_plan(model, IMAGES)
    insert_quantizers_(model, plan, QuantScheme((4,), 8, symmetric=True))
    clipped = quantizer_at(model, "2.body.2.input_quant")
    shared, free = quantizer_at(model, "1.output_quant"), quantizer_at(model, "5.output_quant")
    assert is_shared(shared) and plan.grids.ceilings["1.output_quant"] == 6.0
    for step, kept in ((0.1, 6 / 255), (0.01, 0.01)):
        for proxy in (clipped, shared, free):
            set_step_(proxy, step)
        limit_ranges_(model, plan.grids)
        assert float(activation_grid(clipped)[0]) == pytest.approx(kept)
        assert float(activation_grid(shared)[0]) == float(activation_grid(free)[0]) == pytest.approx(step)


@pytest.mark.parametrize(
    ("preset", "ends"), [(HAQActPerTensorPositive, [0.0, 5.1]), (HAQActPerTensorSymmetric, [-2.56, 2.54])]
)
def test_codes_of_eight_bits(preset, ends):
    part = QuantIdentity(act_quant=preset, bit_width=8, candidate_bits=(8,)).eval()
    set_step_(part.act_quant, 0.02)
    with torch.no_grad():
        assert part(torch.tensor([-9.0, 9.0])).tolist() == pytest.approx(ends)


def test_names():
    assert plain_name("parametrizations.pos_embed.original") == "pos_embed"
    assert plain_name("a.b.parametrizations.table.original") == "a.b.table"
    assert plain_name("a.weight") == "a.weight"


def test_biases_lie_on_the_grid_of_the_products(prepared):
    """Of the codes that a layer reads: its own, or those made for a sum before it."""
    _, plan, quantized = prepared
    bits = {layer.name: 4 for layer in plan.layers}
    made = copy.deepcopy(quantized)
    transfer(made, plan, bits, WeightsWriter(), integer_biases=True)
    convolutions = [layer.name for layer in plan.layers if layer.kind == "Conv2d"]
    assert convolutions
    for name in convolutions:
        layer = modules_by_name(made)[name]
        source = plan.grids.ready.get(name, f"{name}.input_quant")
        step = float(activation_grid(quantizer_at(made, source))[0])
        codes, scale, _ = read_codes(layer)
        gain = product_gain(float(codes.abs().max()))
        assert whole(layer.bias, step * scale.flatten() / gain), name
    if plan.grids.ready:
        assert set(plan.grids.ready) & set(convolutions)
