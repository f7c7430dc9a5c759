"""The drop-ins alone: trained with labels under eq. 6's budget, and under Brevitas' own bit-width losses."""

import brevitas.nn as qnn
import pytest
import torch
from brevitas.loss import ActivationBitWidthWeightedBySize, WeightBitWidthWeightedBySize
from brevitas.utils.quant_utils import has_learned_activation_bit_width, has_learned_weight_bit_width
from nominal_width import nominal_bits
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.haq.relaxed import horizontal_loss
from brevitas_defakeq.haq.sensitivity import haq_costs
from brevitas_defakeq.haq.solver import solve
from brevitas_defakeq.quant.bit_width import relaxed, relaxed_bits, set_bits_
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import (
    HAQActPerTensorFloat,
    HAQWeightPerChannelFloat,
    HAQWeightPerChannelSymmetric,
)

CANDIDATES = (2, 3, 4, 6, 8)


def spirals(count=300):
    """Two interleaved half-turns: not linearly separable, easy for a small network."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    angle = torch.rand(count, generator=generator) * torch.pi
    radius = 1.0 + 0.05 * torch.randn(count, generator=generator)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    points[labels == 1] = torch.tensor([1.0, 0.4]) - points[labels == 1]
    return points, labels


def network(preset):
    torch.manual_seed(0)
    options = {"weight_quant": preset, "weight_bit_width": 8, "weight_candidate_bits": CANDIDATES}
    activation = {"input_quant": HAQActPerTensorFloat, "input_bit_width": 8}
    return nn.Sequential(
        qnn.QuantLinear(2, 24, **options),
        nn.ReLU(),
        qnn.QuantLinear(24, 24, **options, **activation),
        nn.ReLU(),
        qnn.QuantLinear(24, 2, **options, **activation),
    )


def quantizers(model):
    return [weight_quantizer(model[index]) for index in (0, 2, 4)]


def accuracy(model, points, labels):
    return float((model.eval()(points).argmax(1) == labels).float().mean())


@pytest.mark.parametrize("preset", [HAQWeightPerChannelFloat, HAQWeightPerChannelSymmetric])
def test_trained_with_labels_to_a_budget_then_snapped(preset):
    points, labels = spirals()
    model, budget = network(preset), 3.5
    sizes = torch.tensor([float(model[index].weight.numel()) for index in (0, 2, 4)])
    importance = torch.tensor([2.0, 0.4, 0.6])
    widths = [p for name, p in model.named_parameters() if "weight_quant" in name and "bit_width" in name]
    others = [p for p in model.parameters() if all(p is not width for width in widths)]
    optimizer = torch.optim.Adam([{"params": others, "lr": 0.02}, {"params": widths, "lr": 0.1}])
    model.train()
    with relaxed(model):
        for _ in range(220):
            bits = torch.stack([relaxed_bits(quantizer) for quantizer in quantizers(model)])
            # A strict lambda holds the budget; plain Adam at the paper's lambda = 1 ends above it.
            budget_loss, _ = horizontal_loss(bits, importance, sizes, budget, error_base=2.0, penalty=10.0)
            optimizer.zero_grad()
            (F.cross_entropy(model(points), labels) + 0.5 * budget_loss).backward()
            optimizer.step()
        bits = torch.stack([relaxed_bits(quantizer) for quantizer in quantizers(model)]).detach()
        average = float((bits * sizes).sum() / sizes.sum())
        assert average == pytest.approx(budget, abs=0.1), "the trained widths reach the budget"
        assert bits[1] < min(bits[0], bits[2]), "the large layer of little importance gives up most"
        assert accuracy(model, points, labels) > 0.95

    names = ["first", "middle", "last"]
    exact = solve(
        haq_costs(dict(zip(names, importance.tolist(), strict=True)), CANDIDATES, 2.0),
        {name: int(size) for name, size in zip(names, sizes, strict=True)},
        CANDIDATES,
        budget,
    )
    for name, quantizer, index in zip(names, quantizers(model), (0, 2, 4), strict=True):
        set_bits_(quantizer, exact[name])
        quantizer.search_range_(model[index].weight)
    snapped = sum(nominal_bits(q) * float(s) for q, s in zip(quantizers(model), sizes, strict=True))
    assert snapped / float(sizes.sum()) <= budget
    assert all(nominal_bits(quantizer) in CANDIDATES for quantizer in quantizers(model))
    assert accuracy(model, points, labels) > 0.93
    for quantizer, index in zip(quantizers(model), (0, 2, 4), strict=True):
        codes = model[index].quant_weight().int(float_datatype=True)
        assert len(codes.unique()) <= 2 ** nominal_bits(quantizer)


@pytest.mark.parametrize("preset", [HAQWeightPerChannelFloat, HAQWeightPerChannelSymmetric])
def test_brevitas_bit_width_losses_see_our_widths(preset):
    model = network(preset)
    found = [name for name, part in model.named_modules() if has_learned_weight_bit_width(part)]
    assert found == ["0.weight_quant", "2.weight_quant", "4.weight_quant"]
    assert sum(has_learned_activation_bit_width(part) for part in model.modules()) == 2
    for quantizer, bits in zip(quantizers(model), (2, 4, 8), strict=True):
        set_bits_(quantizer, bits)
    weights, activations = WeightBitWidthWeightedBySize(model), ActivationBitWidthWeightedBySize(model)
    model(spirals()[0])
    average = weights.retrieve()
    sizes = [2 * 24, 24 * 24, 24 * 2]
    assert average.item() == pytest.approx(sum(b * s for b, s in zip((2, 4, 8), sizes)) / sum(sizes))  # noqa: B905
    assert activations.retrieve().item() == pytest.approx(8.0)
    average.backward()
    offset = quantizers(model)[1].msb_clamp_bit_width_impl.bit_width_offset
    assert offset.grad.item() == pytest.approx(sizes[1] / sum(sizes))
