"""Which LayerNorms linear layers alone read, and why the others stay as they are."""

import re

import pytest
import timm
import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq.nn.module_tree import modules_by_name
from brevitas_defakeq.prepare.norm_readers import find_norm_readers
from brevitas_defakeq.prepare.plan import make_plan
from brevitas_defakeq.prepare.trace import trace

TOKENS = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))


def readers_of(model, images=TOKENS, head=None, layers=None):
    model.eval()
    if layers is None:
        layers = [name for name, part in modules_by_name(model).items() if isinstance(part, nn.Linear)]
    found = find_norm_readers(model, trace(model, images), layers, head or "head")
    assert found.layers.keys().isdisjoint(found.left_alone)
    return found


def net(flow, **parts):
    parts = {"norm": nn.LayerNorm(6), "fc": nn.Linear(6, 6), "head": nn.Linear(6, 1), **parts}
    return Net(flow, **parts)


@pytest.mark.parametrize(
    "flow",
    [
        lambda m, x: m.head(m.fc(m.norm(x)).relu()),
        lambda m, x: m.head(m.fc(m.norm(x).roll(1, 1).flatten(1, 2)).relu()),
        lambda m, x: m.head(m.fc(m.norm(x).permute(1, 0, 2, 3)[:, 0]).relu()),
        lambda m, x: m.head(m.fc(nn.functional.dropout(m.norm(x), 0.5, training=False)).relu()),
        lambda m, x: m.head(m.fc(m.norm(x)) + m.fc(m.norm(2 * x))),
    ],
    ids=["plain", "windows", "turned", "dropout", "twice"],
)
def test_one_layer_reads_it(flow):
    found = readers_of(net(flow))
    assert found.layers == {"norm": ("fc",)} and found.left_alone == {}


@pytest.mark.parametrize(
    ("flow", "reason"),
    [
        (lambda m, x: (lambda y: m.head(y + m.fc(y)))(m.norm(x)), "^add reads it too$"),
        (lambda m, x: (lambda y: (m.head(m.fc(y)), y))(m.norm(x)), "^the network returns it$"),
        (lambda m, x: m.head(m.fc(m.norm(x)) + m.fc(x)), "^fc reads something else too$"),
        (lambda m, x: m.head(m.fc(nn.functional.pad(m.norm(x), (0, 0, 1, 1)))), "^pad reads it$"),
        (lambda m, x: m.head(m.norm(m.fc(x))), "^head reads it: it is the detector's feature$"),
        (lambda m, x: m.head(m.fc(x)) + m.norm(x).flatten()[0] * 0, "mul.* reads it$"),
        (lambda m, x: m.head(m.fc(m.norm(x).relu_())), "^relu_ reads it$"),
    ],
)
def test_something_else_reads_it(flow, reason):
    found = readers_of(net(flow))
    assert found.layers == {} and re.search(reason, found.left_alone["norm"]), found.left_alone


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (nn.LayerNorm(6, elementwise_affine=False), "no weight and bias"),
        (nn.LayerNorm(6, bias=False), "no weight and bias"),
        (nn.LayerNorm((4, 6)), "no weight and bias for each channel"),
    ],
)
def test_norms_without_numbers_for_every_channel(norm, reason):
    found = readers_of(net(lambda m, x: m.head(m.fc(m.norm(x)).relu()), norm=norm))
    assert reason in found.left_alone["norm"]


def test_channels_elsewhere():
    found = readers_of(net(lambda m, x: m.head(m.fc(m.norm(x))), norm=timm.layers.LayerNorm2d(3)))
    assert found.left_alone == {"norm": "its channels are not the last axis"}
    mixed = net(lambda m, x: m.head(m.fc(m.norm(x).transpose(2, 3))), fc=nn.Linear(4, 6))
    assert readers_of(mixed).left_alone == {"norm": "a linear layer reads it along another axis"}


def test_layers_in_float_are_no_readers():
    model = net(lambda m, x: m.head(m.fc(m.norm(x)).relu()))
    assert readers_of(model, layers=["head"]).left_alone == {"norm": "linear in fc reads it"}


def named(name, **options):
    """A timm model, its norms that linear layers alone read, by the layers' last names, and the others."""
    size = options.get("img_size", 64)
    model, images = timm.create_model(name, num_classes=1, **options).eval(), torch.randn(1, 3, size, size)
    plan = make_plan(model, images)
    found = readers_of(model, images, plan.head, [layer.name for layer in plan.layers])
    layers = {norm: {name.rpartition(".")[2] for name in readers} for norm, readers in found.layers.items()}
    return layers, found.left_alone


def test_a_transformer():
    layers, left_alone = named(
        "deit_tiny_patch16_224", depth=2, embed_dim=48, num_heads=3, img_size=32, class_token=True
    )
    assert layers == {
        f"blocks.{index}.norm{part}": {layer} for index in (0, 1) for part, layer in ((1, "qkv"), (2, "fc1"))
    }
    assert left_alone == {"norm": "head reads it: it is the detector's feature"}


def test_windows():
    """norm1 is rolled and cut into windows; where these do not fit it is padded, by zeros."""
    options = {"depths": (2, 1), "num_heads": (2, 4), "embed_dim": 16, "window_size": 4}
    layers, left_alone = named("swin_tiny_patch4_window7_224", img_size=32, **options)
    assert layers["layers.0.blocks.1.norm1"] == {"qkv"}
    assert layers["layers.1.downsample.norm"] == {"reduction"}
    assert left_alone.keys() == {"patch_embed.norm", "norm"}
    _, left_alone = named("swin_tiny_patch4_window7_224", img_size=40, **options)
    assert left_alone["layers.0.blocks.1.norm1"] == "pad in layers.0.blocks.1 reads it"


def test_three_layers_read_one():
    layers, left_alone = named("pvt_v2_b0")
    assert layers["stages.3.blocks.0.norm1"] == {"q", "kv"}
    assert left_alone["stages.0.blocks.0.norm1"] == "conv2d in stages.0.blocks.0.attn.sr reads it too"
