"""The feature tap: its value is what the head reads, and nothing is left behind."""

import copy

import pytest
import timm
import torch
from torch import nn

from brevitas_defakeq.detectors.feature import FeatureTap
from brevitas_defakeq.utils.errors import UserError

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Twisted(nn.Module):
    """Calls its modules in another order than it defines them, leaves one out, and drops out in training."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 1)
        self.stem = nn.Conv2d(3, 4, 3)
        self.dropout = nn.Dropout(0.5)
        self.unused = nn.Linear(4, 4)

    def forward(self, images):
        return {"logits": self.head(self.dropout(self.stem(images).relu().mean((2, 3))))}


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(
    ("name", "head", "options"),
    [
        ("mobilenetv2_035", "classifier", {}),
        ("deit_tiny_patch16_224", "head", {"img_size": 32, "depth": 1}),
        (
            "swin_tiny_patch4_window7_224",
            "head.fc",
            {"img_size": 32, "depths": (1, 1, 1, 1), "embed_dim": 24},
        ),
        ("resnet18", "fc", {}),
        ("convnext_atto", "head.fc", {}),
    ],
)
def test_the_input_of_the_head_of_timm_models(name, head, options):
    model = timm.create_model(name, num_classes=2, **options).eval()
    with FeatureTap(model, head) as tap:
        model(IMAGES)
    expected = model.forward_head(model.forward_features(IMAGES), pre_logits=True)
    torch.testing.assert_close(tap.value, expected)


def test_a_replaced_head_is_tapped_at_the_same_place():
    class QuantizedLinear(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, features):
            return self.linear(features)

    model = Twisted().eval()
    changed = copy.deepcopy(model)
    changed.head = QuantizedLinear(changed.head)
    with FeatureTap(model, "head") as first, FeatureTap(changed, "head") as second:
        model(IMAGES), changed(IMAGES)
    torch.testing.assert_close(first.value, second.value)


def test_a_convolution_as_the_head():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    with FeatureTap(model, "2") as tap:
        model(IMAGES)
    torch.testing.assert_close(tap.value, model[:2](IMAGES).mean((2, 3)))


def test_named_modules_are_pooled():
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=64, depths=(1, 1, 1, 1), embed_dim=24
    ).eval()
    images = torch.randn(2, 3, 64, 64)
    with FeatureTap(model, "norm", "output") as tap:
        model(images)
    torch.testing.assert_close(tap.value, model.forward_features(images).mean((1, 2)))
    vit = timm.create_model("deit_tiny_patch16_224", img_size=32, depth=1).eval()
    with FeatureTap(vit, "norm", "output") as tap:
        vit(IMAGES)
    torch.testing.assert_close(tap.value, vit.forward_features(IMAGES).mean(1))
    twisted = Twisted().eval()
    with FeatureTap(twisted, "stem", "output") as tap:
        twisted(IMAGES)
    assert tap.value.shape == (2, 4)


def test_the_graph_is_kept():
    model = Twisted().eval()
    with FeatureTap(model, "head") as tap:
        model(IMAGES)
    tap.value.sum().backward()
    assert model.stem.weight.grad.abs().sum() > 0


def test_the_hook_goes_even_after_an_error():
    model = Twisted()
    with pytest.raises(RuntimeError), FeatureTap(model, "head"):
        model(torch.zeros(1, 5, 8, 8))
    assert hooks(model) == 0


def test_what_cannot_be_tapped():
    model = Twisted()
    with pytest.raises(UserError, match="no module 'haed'; close names are head"):
        FeatureTap(model, "haed", "output")
    with FeatureTap(model, "unused", "output") as tap:
        model(IMAGES)
    with pytest.raises(UserError, match="'unused' was not reached"):
        _ = tap.value
    with pytest.raises(UserError, match="choose one of input, output"):
        FeatureTap(model, "head", "both")
