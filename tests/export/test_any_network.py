"""Small networks made up at random: the file agrees with the model, or the export names the layer."""

import random

import pytest
import torch
from small_networks import Residual
from timm.models.vision_transformer import Block
from torch import nn

from brevitas_defakeq import export_onnx, quantize
from brevitas_defakeq.imaging.preprocessing import Preprocessing

SIDE = 16
WIDTHS = (2, 3, 4, 5, 6, 7, 8)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU)


class Tokens(nn.Module):
    """A transformer block over the positions of a feature map."""

    def __init__(self, channels: int, draw: random.Random) -> None:
        super().__init__()
        self.block = Block(channels, num_heads=draw.choice((1, 2)), qkv_bias=True)

    def forward(self, x):
        tokens = self.block(x.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


def convolution(before: int, after: int, draw: random.Random) -> nn.Module:
    groups = draw.choice((1, 1, 2, before if after == before else 1))
    kernel, stride, bias = draw.choice((1, 3, 5)), draw.choice((1, 2)), draw.random() < 0.5
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(
        layer, draw.choice((nn.BatchNorm2d(after), nn.Identity())), draw.choice(ACTIVATIONS)()
    )


def network(draw: random.Random) -> nn.Module:
    channels, layers = 8, [nn.Conv2d(3, 8, 3, draw.choice((1, 2)), 1)]
    for _ in range(draw.randint(1, 4)):
        kind = draw.choice(("conv", "residual", "tokens", "pool"))
        if kind == "conv":
            after = draw.choice((8, 12, 16))
            layers.append(convolution(channels, after, draw))
            channels = after
        elif kind == "residual":
            depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=draw.choice((1, channels)))
            layers.append(Residual(depthwise, draw.choice((nn.ReLU(), nn.Identity(), nn.SiLU()))))
        elif kind == "tokens":
            layers.append(Tokens(channels, draw))
        else:
            layers.append(draw.choice((nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1))))
    head = draw.choice((nn.Linear(channels, 1), nn.Linear(channels, 2)))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] * (seed != 2)) for seed in range(40)]
)
def test_agrees(seed, images, quick_config, tmp_path):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    model = network(draw)
    settings = {
        "target": draw.choice(("mobile", "any", "fpga")), "average_bits": draw.choice((2.5, 3, 4, 5, 6, 7.5)),
        "candidate_bits": WIDTHS, "mixed_channel_bits": draw.choice((8, 8, 32)),
    }  # fmt: skip
    if settings["target"] == "fpga":
        del settings["mixed_channel_bits"]
    config = quick_config(reconstruction__iterations=0, final__steps=0, **settings)
    images = (images * 40 + 128).round().clamp(0, 255) / 127.5 - 1  # as from bytes
    run = quantize(model, images, config, preprocessing=Preprocessing((SIDE, SIDE)))
    for variant in ("quantized", "mixed"):
        options = {"pixels": draw.random() < 0.3, "storage": draw.choice(("packed", "int8"))}
        card = export_onnx(run, tmp_path / variant, variant=variant, verify=images, **options)
        assert card.provenance["agreement"]["difference"] < 0.05, settings
