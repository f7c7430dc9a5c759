"""Observers: what they see, the range they set, and that they leave nothing behind."""

import math

import brevitas.nn as qnn
import pytest
import torch
from torch import nn

from brevitas_defakeq.prepare.calibrate import (
    SAMPLE_SIZE,
    ActivationSample,
    calibrate_,
    fit_range_,
    quantization_off,
)
from brevitas_defakeq.quant.activation_quantizer import activation_grid, activation_proxies, share_step_
from brevitas_defakeq.quant.presets import (
    HAQActPerTensorFloat,
    HAQActPerTensorPositive,
    HAQActPerTensorSymmetric,
    HAQWeightPerChannelFloat,
)

PRESETS = [HAQActPerTensorFloat, HAQActPerTensorSymmetric]


def network(preset=HAQActPerTensorFloat, bits=8):
    torch.manual_seed(0)
    options = {
        "weight_quant": HAQWeightPerChannelFloat,
        "weight_bit_width": 4,
        "input_quant": preset,
        "input_bit_width": bits,
        "input_candidate_bits": (bits,),
        "return_quant_tensor": False,
    }
    return nn.Sequential(
        qnn.QuantConv2d(3, 6, 3, **options), nn.GELU(), nn.Flatten(), qnn.QuantLinear(96, 2, **options)
    ).eval()


def images(count=6):
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("preset", PRESETS)
def test_8_bit_ranges_cover_what_was_seen(preset):
    model = network(preset)
    proxies = activation_proxies(model)
    calibrate_(model, proxies, images().split(2), count=3)
    with torch.no_grad(), quantization_off(model):
        observed = {"0": images(), "3": model[:3](images())}
    for name, values in observed.items():
        scale, zero, _ = activation_grid(proxies[f"{name}.input_quant"])
        symmetric = preset is HAQActPerTensorSymmetric
        low, high = (-128, 127) if symmetric else (0, 255)
        codes = (values / scale + zero).round().clamp(low, high)
        error = ((codes - zero) * scale - values).square().mean()
        signal_to_noise = 10 * math.log10(values.square().mean() / error)
        assert signal_to_noise > 35, f"{name}: {signal_to_noise:.1f} dB at 8 bits"
        if not symmetric:
            bottom, top = float((low - zero) * scale), float((high - zero) * scale)
            assert 0.6 * values.min() >= bottom >= 1.1 * values.min()
            assert 0.6 * values.max() <= top <= 1.1 * values.max()


def test_quantization_is_off_while_observing():
    """The second layer's range comes from float inputs, not from behind a 2-bit first layer."""
    model = network(bits=2)
    observed = []
    handle = model[3].register_forward_pre_hook(lambda _, inputs: observed.append(inputs[0]))
    calibrate_(model, activation_proxies(model), [images()], count=1)
    handle.remove()
    plain = torch.nn.functional.conv2d(images(), model[0].weight, model[0].bias)
    torch.testing.assert_close(observed[0], nn.functional.gelu(plain).flatten(1))


def test_only_the_given_proxies_are_set_and_no_hook_stays():
    model = network()
    proxies = activation_proxies(model)
    assert list(proxies) == ["0.input_quant", "3.input_quant"]
    before = activation_grid(proxies["3.input_quant"])[0].clone()
    calibrate_(model, {"0.input_quant": proxies["0.input_quant"]}, [images()], count=1)
    assert torch.equal(activation_grid(proxies["3.input_quant"])[0], before)
    assert not any(part._forward_pre_hooks for part in model.modules())

    def broken():
        yield images()
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        calibrate_(model, proxies, broken(), count=2)
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_ranges_are_those_of_all_batches_in_any_order():
    grids = []
    for order in (1, -1):
        model = network()
        proxies = activation_proxies(model)
        batches = list((images() * torch.linspace(0.2, 2, 6).view(-1, 1, 1, 1)).split(1))[::order]
        calibrate_(model, proxies, batches, count=6)
        grids.append([float(activation_grid(proxy)[0]) for proxy in proxies.values()])
    assert grids[0] == pytest.approx(grids[1], rel=1e-5)


def test_quantization_off_is_float_and_comes_back():
    model = network(bits=2)
    calibrate_(model, activation_proxies(model), [images()], count=1)
    quantized = model(images())
    plain = nn.Sequential(nn.Conv2d(3, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(96, 2))
    for index in (0, 3):
        plain[index].weight, plain[index].bias = model[index].weight, model[index].bias
    model[3].weight_quant.disable_quant = True
    flags = [part.disable_quant for part in model.modules() if hasattr(part, "disable_quant")]
    with pytest.raises(RuntimeError), quantization_off(model):
        torch.testing.assert_close(model(images()), plain(images()))
        raise RuntimeError
    assert [part.disable_quant for part in model.modules() if hasattr(part, "disable_quant")] == flags
    model[3].weight_quant.disable_quant = False
    assert torch.equal(model(images()), quantized)


@pytest.mark.parametrize("shape", [(2, 197, 192), (8, 96, 31, 33), (4, 3, 224, 224), (3, 7)])
@pytest.mark.parametrize("batches", [1, 8, 32])
def test_samples_are_bounded_and_visit_every_channel_and_position(shape, batches):
    """A stride that divides the last dimensions would see the same few channels or columns every time."""
    sample = ActivationSample(batches)
    index = torch.arange(math.prod(shape)).view(shape)
    for _ in range(batches):
        sample.add(index)
    assert sum(len(part) for part in sample.kept) <= max(SAMPLE_SIZE, batches)
    kept = torch.cat(sample.kept)
    assert set(kept.tolist()) <= set(range(math.prod(shape)))
    after = 1
    for size in reversed(shape[1:]):
        visited = ((kept // after) % size).unique()
        assert len(visited) >= min(size, len(sample.kept[0])) * 0.9, f"{len(visited)} of {size}"
        after *= size


def test_extremes_are_kept_whatever_the_sample_misses():
    sample = ActivationSample(1000)
    values = torch.zeros(10_000)
    values[1234], values[4321] = 50.0, -3.0
    sample.add(values)
    assert sample.values().max() == 50 and sample.values().min() == -3


def test_fit_range_follows_the_width():
    """At few bits, squared error clips an outlier that 8 bits would keep."""
    tops = {}
    for bits in (3, 8):
        identity = qnn.QuantIdentity(
            act_quant=HAQActPerTensorFloat, bit_width=bits, candidate_bits=(bits,), return_quant_tensor=False
        )
        (proxy,) = activation_proxies(identity).values()
        sample = ActivationSample(1)
        sample.add(
            torch.cat([torch.randn(5000, generator=torch.Generator().manual_seed(0)), torch.tensor([9.0])])
        )
        fit_range_([proxy], [sample])
        scale, zero, _ = activation_grid(proxy)
        tops[bits] = float(scale * (2**bits - 1 - zero))
    assert tops[3] < 4.5 < tops[8]


def test_one_step_for_those_that_share_it():
    """An unsigned and a signed quantizer: the signed one's values are the larger and set the step."""
    torch.manual_seed(0)
    model = nn.Sequential(*(
        qnn.QuantIdentity(act_quant=preset, bit_width=8, candidate_bits=(8,))
        for preset in (HAQActPerTensorPositive, HAQActPerTensorSymmetric)
    )).eval()  # fmt: skip
    proxies = activation_proxies(model)
    share_step_(proxies.values())
    assert len([name for name, _ in model.named_parameters() if name.endswith("scaling_impl.value")]) == 1
    samples = [ActivationSample(1), ActivationSample(1)]
    samples[0].add(torch.rand(5000))
    samples[1].add(4 * torch.rand(5000) - 2)
    fit_range_(list(proxies.values()), samples)
    first, second = (float(activation_grid(proxy)[0]) for proxy in proxies.values())
    assert first == second == pytest.approx(2 / 128, rel=0.02)
    for unsigned, signed in ((300.0, 5.0), (-5.0, -300.0)):
        with torch.no_grad():
            ends = [float(part(torch.tensor([x]))) for part, x in zip(model, (unsigned, signed), strict=True)]
        codes = [end / first for end in ends]
        assert codes == pytest.approx([255, 127] if unsigned > 0 else [0, -128])
