"""Foreign models, quantized as they are."""

import pytest
import torch
from torch import nn

from brevitas_defakeq import Adapter, DefakeQConfig, UserError, quantize
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.resolve import resolve

IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Foreign(nn.Module):
    """As DeepfakeBench's detectors: a dictionary in, a dictionary out."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, 2)

    def forward(self, data_dict, inference=False):
        feature = self.body(data_dict["image"])
        cls = self.head(feature)
        return {"cls": cls, "prob": cls.softmax(1)[:, 1], "feat": feature}


class InTuples(Foreign):
    def forward(self, images):
        given = super().forward({"image": images})
        return given["feat"], given["cls"].softmax(1)[:, 1]


@torch.no_grad()
@pytest.mark.parametrize(
    "adapter",
    [
        lambda: Adapter(Foreign()),
        lambda: Adapter(Foreign(), output="cls", feature="feat"),
        lambda: Adapter(Foreign(), output="prob"),
        lambda: Adapter(InTuples(), input=None, output=OutputSpec("probability", key=1), feature=0),
    ],
)
def test_the_fake_logit_whatever_comes_out(adapter):
    torch.manual_seed(0)
    adapted = adapter().eval()
    cls = Foreign.forward(adapted.model, {"image": IMAGES})["cls"]
    torch.testing.assert_close(adapted(IMAGES), cls[:, 1:] - cls[:, :1], rtol=1e-4, atol=1e-5)


def test_quantized_without_rewriting_it():
    adapted = Adapter(Foreign(), output="cls", feature="feat").eval()
    config = DefakeQConfig.for_recipe("paper", samples=8)
    small = config.reconstruction.__class__(iterations=2, matching="none")
    result = quantize(adapted, IMAGES, DefakeQConfig(samples=8, reconstruction=small))
    assert set(result.bits) == {"model.body.0", "model.head"}
    assert result.observer.path == "feature" and result.quantized(IMAGES).shape == (8, 1)


def test_from_a_factory(tmp_path, monkeypatch):
    (tmp_path / "foreign_factory.py").write_text(
        "from brevitas_defakeq import Adapter\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.head = nn.Linear(192, 1)\n"
        "    def forward(self, data):\n        x = data['image'].flatten(1)\n"
        "        return {'logit': self.head(x), 'feat': x}\n"
        "def make():\n    return Adapter(Net(), feature='feat'), {'input_size': 8, 'mean': 0.5, 'std': 0.5}\n"
    )
    monkeypatch.chdir(tmp_path)
    found = resolve("foreign_factory:make")
    assert found.feature == "feature" and found.model(IMAGES[..., :8, :8]).shape == (8, 1)


def test_a_feature_that_is_not_there():
    with pytest.raises(UserError, match="no tensor 'features'"):
        Adapter(Foreign(), feature="features")(IMAGES)
