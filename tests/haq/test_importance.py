"""Channel energy and importance (eqs. 2-4) by hand and by unfolding every window."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.haq.importance import (
    ChannelEnergy,
    channel_energies,
    expand_energy,
    layer_importance,
    normalized,
)
from brevitas_defakeq.nn.static_padding import StaticPadConv2d


def test_energy_of_a_linear_by_hand():
    meter = ChannelEnergy(nn.Linear(2, 3))
    meter.add(torch.tensor([[3.0, 1.0], [4.0, 2.0]]))  # two images, one token
    meter.add(torch.tensor([[0.0, 2.0]]))
    # sqrt((9 + 16 + 0) / 3), sqrt((1 + 4 + 4) / 3)
    torch.testing.assert_close(meter.energy(3), torch.tensor([[(25 / 3) ** 0.5, 3**0.5]]))


def test_tokens_are_summed_within_an_image():
    meter = ChannelEnergy(nn.Linear(1, 1))
    meter.add(torch.tensor([[[1.0], [2.0], [2.0]]]))  # one image, three tokens
    assert meter.energy(1).item() == 3.0


def brute_force(layer, inputs):
    """Squares of what each weight of one filter reads, window by window."""
    dims = layer.weight.dim() - 2
    if hasattr(layer, "static_padding"):
        inputs = F.pad(inputs, layer.static_padding)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        sides = [side for t in reversed(total) for side in (t // 2, t - t // 2)]
    else:
        sides = [p for p in reversed(layer.padding) for _ in range(2)]
    inputs = F.pad(inputs, sides, mode=mode)
    if dims == 1:
        inputs = inputs[:, :, None]
    kernel = layer.kernel_size if dims == 2 else (1, *layer.kernel_size)
    stride = layer.stride if dims == 2 else (1, *layer.stride)
    dilation = layer.dilation if dims == 2 else (1, *layer.dilation)
    groups, per_group = layer.groups, layer.weight.shape[1]
    heights = range(0, inputs.shape[2] - dilation[0] * (kernel[0] - 1), stride[0])
    widths = range(0, inputs.shape[3] - dilation[1] * (kernel[1] - 1), stride[1])
    total = torch.zeros(groups, per_group, *kernel, dtype=torch.float64)
    for group in range(groups):
        for channel in range(per_group):
            plane = inputs[:, group * per_group + channel].double().square()
            for row in range(kernel[0]):
                for column in range(kernel[1]):
                    for top in heights:
                        for left in widths:
                            y, x = top + row * dilation[0], left + column * dilation[1]
                            total[group, channel, row, column] += plane[:, y, x].sum()
    return (total.flatten(1) / len(inputs)).sqrt().float()


def static():
    layer = StaticPadConv2d(4, 4, 3, stride=2)
    layer.static_padding = (0, 1, 1, 2)
    return layer


CONVOLUTIONS = {
    "plain": lambda: nn.Conv2d(4, 6, 3),
    "stride and padding": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "groups": lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1),
    "depthwise": lambda: nn.Conv2d(4, 8, 3, groups=4),
    "dilation": lambda: nn.Conv2d(4, 2, 2, dilation=2, stride=(2, 1)),
    "uneven kernel": lambda: nn.Conv2d(4, 2, (1, 3), padding=(0, 1)),
    "static padding": static,
    "same": lambda: nn.Conv2d(4, 2, 3, padding="same"),
    "even same": lambda: nn.Conv2d(4, 2, 4, padding="same"),
    "valid": lambda: nn.Conv2d(4, 2, 3, padding="valid"),
    "reflect": lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"),
    "circular": lambda: nn.Conv2d(4, 2, 3, padding=(1, 0), padding_mode="circular"),
    "conv1d": lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2),
    "conv1d same": lambda: nn.Conv1d(4, 6, 3, padding="same"),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_energy_of_a_convolution_is_that_of_its_windows(kind):
    layer = CONVOLUTIONS[kind]()
    shape = (3, 4, 7) if isinstance(layer, nn.Conv1d) else (3, 4, 7, 6)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    meter = ChannelEnergy(layer)
    for part in inputs.split(2):
        meter.add(part)
    if layer.padding == "valid":
        layer.padding = (0, 0)
    torch.testing.assert_close(meter.energy(3), brute_force(layer, inputs), rtol=1e-4, atol=1e-5)


def test_energy_says_what_noise_on_the_weights_does():
    """Noise of one variance on every weight moves the output by E||dW x||^2 = s^2 C_out sum A^2."""
    torch.manual_seed(0)
    layer, inputs = nn.Conv2d(4, 200, 3, stride=2, padding=1, bias=False), torch.randn(5, 4, 8, 8)
    meter = ChannelEnergy(layer)
    meter.add(inputs)
    noise = torch.randn_like(layer.weight)
    moved = layer._conv_forward(inputs, noise, None).square().sum() / 5
    assert moved.item() == pytest.approx(200 * meter.energy(5).square().sum().item(), rel=0.1)


def test_importance_by_hand():
    weight = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    # (1*3 + 2*1 + .5*3 + 0) / 4
    assert layer_importance(weight, torch.tensor([[3.0, 1.0]])) == 1.625


def test_importance_with_groups_by_hand():
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1)  # 2 groups of 2 filters
    assert layer_importance(weight, torch.tensor([[10.0], [1.0]])) == (10 + 20 + 3 + 4) / 4
    assert expand_energy(torch.tensor([[10.0], [1.0]]), 4).flatten().tolist() == [10, 10, 1, 1]


def test_energies_of_a_network_are_streamed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    images = torch.randn(7, 3, 6, 6)
    energies = channel_energies(model, {"0": model[0], "3": model[3]}, images.split(3))
    torch.testing.assert_close(energies["0"], brute_force(model[0], images), rtol=1e-4, atol=1e-5)
    hidden = model[:3](images).detach()
    torch.testing.assert_close(energies["3"], (hidden.square().sum(0, keepdim=True) / 7).sqrt())
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_a_layer_called_twice_sums_both_calls():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, layer)
    x = torch.randn(4, 2)
    energy = channel_energies(model, {"0": layer}, [x])["0"]
    second = layer(x).detach()
    expected = ((x.square().sum(0) + second.square().sum(0)) / 4).sqrt()
    torch.testing.assert_close(energy[0], expected)


def test_normalized_has_mean_one_and_keeps_ratios():
    assert normalized({"a": 1.0, "b": 3.0}) == {"a": 0.5, "b": 1.5}
    assert normalized({"a": 0.0, "b": 0.0}) == {"a": 1.0, "b": 1.0}
