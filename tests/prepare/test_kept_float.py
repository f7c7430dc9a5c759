"""Modules kept in float by name or pattern: which they are, and what the plan makes of them."""

import copy

import front_end
import pytest
import torch
from timm.models.vision_transformer import Block as TransformerBlock
from torch import nn

from brevitas_defakeq.prepare.insert_quantizers import QuantScheme, insert_quantizers_
from brevitas_defakeq.prepare.kept_float import KEPT_FLOAT, kept_float
from brevitas_defakeq.prepare.plan import make_plan
from brevitas_defakeq.utils.errors import UserError


def detector() -> nn.Module:
    model = nn.Sequential()
    model.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
    model.body = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    model.rest = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.head = nn.Linear(8, 1)
    return model.eval()


IMAGES = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["head"], ["head"]),
        (["stem"], ["stem"]),
        (["stem", "stem.0"], ["stem"]),
        (["body.*"], ["body.0", "body.2"]),
        (["*.0"], ["stem.0", "body.0"]),
        (["body.[02]", "hea?"], ["body.0", "body.2", "head"]),
        ([], []),
    ],
)
def test_the_outermost_modules_with_weights(patterns, names):
    assert kept_float(detector(), patterns) == dict.fromkeys(names, KEPT_FLOAT)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("haed", r"keep_float='haed' matches no module with weights; did you mean head"),
        ("bodi.0", "did you mean body.0"),
        ("rest", "matches no module with weights"),
        ("Stem", "did you mean stem"),
        ("xyz", r"there are stem, stem.0, body, body.0, body.2, ... \(`defakeq inspect` lists the layers\)"),
    ],
)
def test_a_pattern_that_matches_nothing(pattern, message):
    with pytest.raises(UserError, match=message) as caught:
        kept_float(detector(), ["head", pattern])
    assert "\n" not in str(caught.value)


def plan_of(model: nn.Module, *patterns: str):
    made = copy.deepcopy(model)
    return make_plan(made, IMAGES, outside=kept_float(made, patterns)), made


def test_a_kept_layer_has_no_quantizer_of_its_own():
    """What reads its result quantizes it, as any quantized layer quantizes what it reads."""
    plan, made = plan_of(detector(), "body.0")
    assert [layer.name for layer in plan.layers] == ["stem.0", "body.2", "head"]
    assert plan.left_float == {"body.0": KEPT_FLOAT}
    insert_quantizers_(made, plan, QuantScheme((4, 8), 8))
    assert type(made.body[0]) is nn.Conv2d
    assert made.body[2].input_quant.is_quant_enabled and made.stem[0].input_quant.is_quant_enabled


def test_the_feature_is_what_a_kept_head_reads():
    assert plan_of(detector(), "head")[0].head == "head"
    assert plan_of(detector(), "stem")[0].head == "head"


def test_attention_and_tables_in_a_kept_block_stay_float():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 5, stride=5)
            self.first = nn.Module()
            self.first.positions = nn.Parameter(torch.randn(1, 16, 16))
            self.first.block, self.second = TransformerBlock(16, 2), TransformerBlock(16, 2)
            self.head = nn.Linear(16, 1)

        def forward(self, images):
            tokens = self.patches(images).flatten(2).transpose(1, 2) + self.first.positions
            return self.head(self.second(self.first.block(tokens)).mean(1))

    plan, _ = plan_of(Tokens().eval())
    assert plan.embeddings == ("first.positions",) and "first.block.attn" in plan.attentions
    plan, _ = plan_of(Tokens().eval(), "first")
    assert plan.embeddings == () and plan.attentions == ("second.attn",)
    assert not any(layer.name.startswith("first") for layer in plan.layers)
    assert plan.left_float["first.block.attn"] == KEPT_FLOAT


def test_phones_quantize_what_a_kept_layer_reads():
    """An integer convolution writes integers: before a float layer it needs a quantizer at its output."""
    assert plan_of(detector())[0].open_outputs == ("body.2",)
    assert plan_of(detector(), "body.2")[0].open_outputs == ("body.0",)
    plan, _ = plan_of(front_end.model(), "srm")
    assert "signs" not in plan.open_outputs
