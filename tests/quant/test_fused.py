"""The fused activation against the stock quantizer it stands for: same bits, same gradients."""

import brevitas.nn as qnn
import pytest
import torch
from torch import nn

from brevitas_defakeq.quant import fused as module
from brevitas_defakeq.quant.activation_quantizer import (
    activation_proxies,
    range_parameters,
    set_activation_range_,
)
from brevitas_defakeq.quant.fused import fused_quantizers
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import (
    HAQActPerTensorFloat,
    HAQActPerTensorSymmetric,
    HAQWeightPerChannelFloat,
)

PRESETS = [HAQActPerTensorFloat, HAQActPerTensorSymmetric]


def base():
    return torch.randn(4, 6, 8, 10, generator=torch.Generator().manual_seed(0)) * 1.5


LAYOUTS = {
    "contiguous": base,
    "channels_last": lambda: base().contiguous(memory_format=torch.channels_last),
    "transposed": lambda: base().transpose(1, 3),
    "sliced": lambda: base()[:, 1:5, ::2],
    "expanded": lambda: base()[:, :1].expand(4, 6, 8, 10),
    "tokens": lambda: base().flatten(2).transpose(1, 2),
    "offset view": lambda: base()[2],
    "one element": lambda: torch.tensor([[0.3]]),
    "rank 0": lambda: torch.tensor(0.3),
}


def identity(preset, bits=4):
    made = qnn.QuantIdentity(
        act_quant=preset, bit_width=bits, candidate_bits=(2, 3, 4, 8), return_quant_tensor=False
    ).eval()
    (proxy,) = activation_proxies(made).values()
    set_activation_range_(proxy, -1.0 if preset is HAQActPerTensorFloat else -2.0, 2.0)
    return made, range_parameters(proxy)


def run(made, parameters, x, upstream):
    for parameter in parameters:
        parameter.grad = None
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = made(leaf)
    (y * upstream).sum().backward()
    return y.detach(), leaf.grad, [parameter.grad.clone() for parameter in parameters]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_same_values_and_gradients(monkeypatch, preset, layout, bits):
    monkeypatch.setattr(module, "_PIECE", 100)  # several pieces, the last one smaller
    made, parameters = identity(preset, bits)
    x = LAYOUTS[layout]()
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    y, to_x, to_range = run(made, parameters, x, upstream)
    with torch.no_grad():
        direct = made(x)  # the layout itself, not a copy of it
    with fused_quantizers(made):
        fast, fast_to_x, fast_to_range = run(made, parameters, x, upstream)
        with torch.no_grad():
            assert torch.equal(made(x), direct)
    assert torch.equal(fast, y)
    torch.testing.assert_close(fast_to_x, to_x, rtol=1e-6, atol=0)  # stock multiplies by s, then divides
    for ours, stock in zip(fast_to_range, to_range, strict=True):
        torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_gradient_of_the_scale_where_everything_is_clamped(preset):
    """There the output is a bound of the range, so finite differences of the real function exist."""
    made, (span, *_) = identity(preset)
    x = torch.full((5,), 50.0)

    def out(value):
        with torch.no_grad(), fused_quantizers(made):
            span.fill_(value)
            return made(x).sum().item()

    step, start = 1e-2, span.item()
    numeric = (out(start + step) - out(start - step)) / (2 * step)
    span.data.fill_(start)
    span.grad = None
    with fused_quantizers(made):
        made(x).sum().backward()
    if preset is HAQActPerTensorSymmetric:
        assert span.grad.item() == pytest.approx(5 * 7 / 8)  # code 7, scale = value / 8
        assert numeric == pytest.approx(5 * 7 / 8, rel=1e-3)
    else:
        stock, _ = identity(preset)
        stock(x).sum().backward()
        (proxy,) = activation_proxies(stock).values()
        assert span.grad.item() == pytest.approx(range_parameters(proxy)[0].grad.item(), rel=1e-5)


def test_gradients_of_a_non_dense_upstream():
    made, parameters = identity(HAQActPerTensorFloat)
    x = base().contiguous(memory_format=torch.channels_last)
    results = []
    for fused in (False, True):
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        if fused:
            with fused_quantizers(made):
                made(leaf).mean(dim=(2, 3)).square().sum().backward()  # an expanded gradient
        else:
            made(leaf).mean(dim=(2, 3)).square().sum().backward()
        results.append(leaf.grad)
    torch.testing.assert_close(results[0], results[1])


def network():
    torch.manual_seed(0)
    options = {"input_quant": HAQActPerTensorFloat, "input_bit_width": 8, "return_quant_tensor": False}
    model = nn.Sequential(
        qnn.QuantConv2d(3, 4, 3, weight_quant=HAQWeightPerChannelFloat, weight_bit_width=4, **options),
        nn.ReLU(),
        nn.Flatten(),
        qnn.QuantLinear(64, 2, weight_quant=HAQWeightPerChannelFloat, weight_bit_width=4, **options),
    )
    model.train()(IMAGES)  # activation statistics
    return model.eval()


IMAGES = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))


def test_a_whole_model_and_that_everything_is_put_back():
    model, images = network(), IMAGES
    before = {name: type(part) for name, part in model.named_modules()}
    expected = model(images)
    with fused_quantizers(model):
        assert torch.equal(model(images), expected)
        assert any(isinstance(part, module.FusedActivation) for part in model.modules())
        set_activation_range_(
            activation_proxies(model)["0.input_quant"], -1.0, 1.0
        )  # reaches the stock parts
        changed = model(images)
    assert {name: type(part) for name, part in model.named_modules()} == before
    assert torch.equal(model(images), changed)
    assert not torch.equal(changed, expected)
    with pytest.raises(RuntimeError, match="stop"), fused_quantizers(model):
        raise RuntimeError("stop")
    assert {name: type(part) for name, part in model.named_modules()} == before
    assert hasattr(model[0].quant_weight(), "scale"), "proxies return quantized tensors again"


@pytest.mark.parametrize("frozen", [False, True])
def test_a_snapshot_reads_the_same_within_and_without(frozen):
    model = network()
    model(IMAGES)
    names = {name for name, _ in model[3].input_quant.named_parameters()}
    with fused_quantizers(model, frozen=frozen):
        assert {name for name, _ in model[3].input_quant.named_parameters()} == names


def test_frozen_weights_are_quantized_once_and_the_same():
    model = network()
    weight_quantizer(model[3]).float_mask[1] = True
    expected = model(IMAGES)
    with torch.no_grad(), fused_quantizers(model, frozen=True):
        assert torch.equal(model(IMAGES), expected)
        model[0].weight.add_(1.0)
        assert torch.equal(model(IMAGES), expected), "a change of the weight is not seen inside"
    assert not torch.equal(model(IMAGES), expected)
