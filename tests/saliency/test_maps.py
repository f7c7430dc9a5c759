"""Saliency maps of whole networks: worked by hand, of real architectures, float beside quantized."""

import copy

import pytest
import timm
import torch
from small_networks import Net, small_vit
from torch import nn

from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.saliency import agreement, saliency_maps
from brevitas_defakeq.utils.errors import UserError


class FixedAttention(nn.Module):
    """Attention with given weights over two tokens, beside a residual connection."""

    def __init__(self, weights):
        super().__init__()
        self.scores = torch.tensor(weights).log()

    def forward(self, tokens):
        return tokens + self.scores.expand(len(tokens), 2, 2).softmax(dim=-1) @ tokens


def two_tokens(read):
    """Two layers over the two pixels of an image [N, 3, 2, 1]; ``read``: from tokens [N, 2, 3] to [N, 3]."""
    return Net(
        lambda m, x: m.head(read(m.second(m.first(x.flatten(2).mT)))),
        first=FixedAttention([[0.9, 0.1], [0.3, 0.7]]), second=FixedAttention([[0.5, 0.5], [0.2, 0.8]]),
        head=nn.Linear(3, 1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (
            lambda tokens: tokens[:, 0],
            [0.75, 0.25],
        ),  # (W + I) / 2 of the second layer times that of the first
        (lambda tokens: tokens[:, 1], [0.23, 0.77]),
        (lambda tokens: tokens.mean(dim=1), [0.49, 0.51]),
    ],
)
def test_rollout_by_hand(read, expected, observer):
    found = saliency_maps(two_tokens(read), torch.randn(1, 3, 2, 1), observer=observer)
    assert (found.method, found.layer) == ("attention rollout", "second")
    torch.testing.assert_close(found.maps, torch.tensor(expected).view(1, 2, 1))


def two_channels():
    """Red and green, averaged; the logit is twice the one less the other."""
    model = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.Dropout(0.9), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2, 3).view(2, 3, 1, 1))
        model[0].bias.zero_()
        model[4].weight.copy_(torch.tensor([[2.0, -1.0]]))
    return model


def test_grad_cam_by_hand(observer):
    """alpha is 2/4 and -1/4; the dropout of a network in training mode does nothing."""
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[4.0, 0.0], [0.0, 4.0]], [[9.0, 9.0], [9.0, 9.0]]]])
    model = two_channels().train()
    with torch.no_grad():
        found = saliency_maps(model, image, observer=observer)
    assert (found.method, found.layer) == ("Grad-CAM", "1")
    torch.testing.assert_close(found.maps, torch.tensor([[[-0.5, 1.0], [1.5, 1.0]]]))
    assert all(module.training for module in model.modules())


def test_many_images_as_one_by_one(observer):
    images = torch.randn(19, 3, 4, 4)
    found = saliency_maps(two_channels(), images, observer=observer).maps
    torch.testing.assert_close(found, 0.125 * images[:, 0] - 0.0625 * images[:, 1])


def small_swin():
    """Windows of 4 x 4 tokens, shifted in the second block; 4 x 4 tokens at the end."""
    torch.manual_seed(0)
    return timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, depths=(2, 1), embed_dim=12,
        num_heads=(1, 2), num_classes=1,
    ).eval()  # fmt: skip


#: Network -> how it is built, the side of its images, the method, the layer and the side of its maps.
NETWORKS = {
    "demo": (lambda: resolve("demo").model, 128, "attention rollout", "norm", 8),
    "vit": (lambda: small_vit(32, depth=2), 32, "attention rollout", "norm", 4),
    "swin": (small_swin, 32, "Grad-CAM", "norm", 4),
}


def images_of(size, count=16):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def state(model):
    """What saliency has to leave as it was."""
    hooks = [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    ]
    parameters = [(p.requires_grad, p.grad, p._version) for p in model.parameters()]
    return hooks, parameters, [m.training for m in model.modules()], [type(m) for m in model.modules()]


@pytest.mark.parametrize("network", NETWORKS)
def test_float_networks(network, observer):
    build, size, method, layer, side = NETWORKS[network]
    model, images = build(), images_of(size, 3)
    before, given, output = state(model), images.clone(), model(images)
    found = saliency_maps(model, images, observer=observer)
    assert (found.method, found.layer, found.maps.shape) == (method, layer, (3, side, side))
    assert found.maps.std() > 0 and not found.maps.requires_grad
    assert state(model) == before and torch.equal(images, given) and torch.equal(model(images), output)
    again = saliency_maps(copy.deepcopy(model), images, observer=observer)
    torch.testing.assert_close(agreement(found.maps, again.maps), torch.ones(3))


@pytest.mark.parametrize("network", ["vit", "swin", pytest.param("demo", marks=pytest.mark.slow)])
def test_quantized_networks(network, rounded):
    build, size, method, layer, side = NETWORKS[network]
    model, images = build(), images_of(size)
    agreements = {}
    for bits in (8, 2):
        run = rounded(model, images, bits)
        before = state(run.quantized)
        expected = saliency_maps(model, images, observer=run.observer)
        found = saliency_maps(run.quantized, images, observer=run.observer)
        assert (found.method, found.layer, found.maps.shape) == (method, layer, (16, side, side))
        assert state(run.quantized) == before
        agreements[bits] = agreement(expected.maps, found.maps)
    assert agreements[8].mean() > 0.9
    assert agreements[2].max() < 1 and agreements[2].mean() < agreements[8].mean() - 0.1


SMALL_VIT = {"img_size": 64, "depth": 1, "embed_dim": 12, "num_heads": 2}
#: timm's name, its options, the method and the layer.
OTHERS = {
    "ends in convolutions": ("mobilevit_xxs", {}, "Grad-CAM", "final_conv"),
    "fewer keys than queries": ("pvt_v2_b0", {}, "Grad-CAM", "stages"),
    "an attention pool": (
        "vit_small_patch16_224", {**SMALL_VIT, "global_pool": "map", "class_token": False},
        "attention rollout", "attn_pool.kv",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_which_method_other_networks_get(kind, observer):
    name, options, method, layer = OTHERS[kind]
    model = timm.create_model(name, num_classes=1, **options).eval()
    found = saliency_maps(model, images_of(64, 2), observer=observer)
    assert (found.method, found.layer) == (method, layer)


def test_networks_where_neither_is_possible_are_refused(observer):
    class_attention = timm.create_model(
        "cait_xxs24_224", img_size=32, depth=1, embed_dim=24, num_heads=2, num_classes=1
    )
    with pytest.raises(UserError, match="neither attention rollout nor Grad-CAM is defined") as error:
        saliency_maps(class_attention, images_of(32, 2), observer=observer)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no gradient at any feature map"):
        saliency_maps(nn.Sequential(nn.Flatten(), nn.Linear(48, 1)), images_of(4, 2), observer=observer)
    with pytest.raises(UserError, match="cannot be run on a batch of shape 2x3x4x4"):
        saliency_maps(nn.Linear(5, 1), images_of(4, 2), observer=observer)
