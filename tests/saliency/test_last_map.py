"""Which result of a network is its last map, and how the dimensions of it are read."""

import pytest
import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq.saliency.last_map import last_map, recorded, token_grid
from brevitas_defakeq.utils.errors import UserError

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def found(model, images=IMAGES):
    """The last map; the verdict is the first column of what the model returns."""
    with recorded(model) as outputs:
        raw = model(images.clone().requires_grad_())
    return last_map(outputs, raw[:, 0], images)


@pytest.mark.parametrize(
    ("tokens", "image", "expected"),
    [
        (196, (224, 224), (14, 14)),
        (197, (224, 224), (14, 14)),
        (201, (224, 224), (14, 14)),  # class token and four registers
        (5, (32, 32), (2, 2)),
        (2, (2, 1), (2, 1)),
        (36, (96, 64), None),  # 6 x 4 would leave 12
        (25, (96, 64), (6, 4)),
        (60, (224, 224), None),
        (1, (224, 224), None),
    ],
)
def test_the_grid_of_tokens(tokens, image, expected):
    assert token_grid(tokens, image) == expected


def test_a_feature_map_and_its_gradient():
    model = Net(
        lambda m, x: m.head(m.act(m.conv(x)).mean(dim=(2, 3))),
        conv=nn.Conv2d(3, 4, 3, stride=2), act=nn.ReLU(inplace=True), head=nn.Linear(4, 1),
    )  # fmt: skip
    last = found(model)
    assert last.layer == "act"
    torch.testing.assert_close(last.values, model.conv(IMAGES).relu())
    expected = model.head.weight[0].view(1, 4, 1, 1).expand(2, 4, 3, 3) / 9
    torch.testing.assert_close(last.gradient, expected)


def test_channels_in_the_last_dimension():
    model = Net(
        lambda m, x: m.norm(m.conv(x).permute(0, 2, 3, 1)).mean(dim=(1, 2)),
        conv=nn.Conv2d(3, 4, 4, stride=4), norm=nn.LayerNorm(4),
    )  # fmt: skip
    last = found(model)
    torch.testing.assert_close(
        last.values, model.norm(model.conv(IMAGES).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    )


def test_tokens_before_images():
    def flow(m, x):
        return m.norm(m.conv(x).flatten(2).permute(2, 0, 1)).mean(dim=0)

    model = Net(flow, conv=nn.Conv2d(3, 6, 2, stride=2), norm=nn.LayerNorm(6))
    last = found(model)
    torch.testing.assert_close(last.values, model.norm(model.conv(IMAGES).flatten(2).mT))


def test_a_branch_beside_the_verdict_is_passed_over():
    def flow(m, x):
        latent = m.encoder(x)
        return torch.cat([latent.mean(dim=(2, 3)), m.decoder(latent).mean(dim=(2, 3))], dim=1)

    model = Net(flow, encoder=nn.Conv2d(3, 1, 3, padding=1), decoder=nn.Conv2d(1, 3, 3, padding=1))
    assert found(model).layer == "encoder"


def test_pooled_values_are_no_map():
    """Of 1 x 1 positions, of one token, or a list of channels."""

    def flow(m, x):
        x = m.gate(m.pool(m.conv(x))).flatten(2)  # [N, 4, 1]
        return m.head(m.same(x.mT).squeeze(1))

    model = Net(
        flow, conv=nn.Conv2d(3, 4, 3), pool=nn.AdaptiveAvgPool2d(1), gate=nn.Conv2d(4, 4, 1),
        same=nn.Identity(), head=nn.Linear(4, 1),
    )  # fmt: skip
    assert found(model).layer == "conv"


def frozen():
    parts = {"conv": nn.Conv2d(3, 4, 3), "head": nn.Linear(4, 1)}
    return Net(lambda m, x: m.head(m.conv(x).detach().mean(dim=(2, 3))), **parts)


def without_any_gradient():
    return frozen().requires_grad_(False)


def saturated():
    layers = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1), nn.Sigmoid()
    nn.init.constant_(layers[3].bias, 200.0)
    return nn.Sequential(*layers)


def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Linear(4, 1))


@pytest.mark.parametrize("network", [flat, frozen, without_any_gradient, saturated])
def test_networks_without_a_gradient_at_a_map_are_refused(network):
    with pytest.raises(UserError, match="no gradient at any feature map or tokens"):
        found(network())
