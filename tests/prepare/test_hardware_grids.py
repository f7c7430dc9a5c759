"""Where integer hardware gets quantizers: small flows with the answer beside them, and known networks."""

import json
from dataclasses import asdict

import pytest
import timm
import torch
from small_networks import Net
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.detectors.parts.classnseg_network import ClassNSeg
from brevitas_defakeq.prepare.grids import Grids
from brevitas_defakeq.prepare.plan import make_plan


class Residual(nn.Module):
    def __init__(self, channels, after=None):
        super().__init__()
        self.body, self.after = conv(channels, channels), after

    def forward(self, x):
        y = x + self.body(x)
        return y if self.after is None else self.after(y)


def conv(before=3, after=4, **options):
    return nn.Conv2d(before, after, 3, padding=1, **options)


def grids_of(flow, size=8, **parts) -> Grids:
    torch.manual_seed(0)
    model = Net(flow, **parts).eval()
    return make_plan(model, torch.randn(2, 3, size, size)).grids


def groups(found: Grids) -> list[set]:
    return [set(group) for group in found.shared]


def pooled(x):
    return x.mean((2, 3))


# Chains ----------------------------------------------------------------------------------------------


def test_a_plain_chain_needs_the_inputs_only():
    found = grids_of(
        lambda m, x: m.head(m.flat(m.b(m.act(m.a(x))))), a=conv(), act=nn.ReLU(), b=conv(4),
        flat=nn.Flatten(), head=nn.Linear(256, 1),
    )  # fmt: skip
    assert found == Grids(positive=("b.input_quant",))


def test_what_is_pooled_is_quantized_first():
    found = grids_of(
        lambda m, x: m.head(m.pool(m.six(m.b(m.top(m.act(m.a(x)))))).flatten(1)), a=conv(), act=nn.ReLU(),
        top=nn.MaxPool2d(2), b=conv(4), six=nn.ReLU6(), pool=nn.AdaptiveAvgPool2d(1), head=nn.Linear(4, 1),
    )  # fmt: skip
    assert groups(found) == [{"act.output_quant"}, {"six.output_quant"}]
    assert set(found.positive) == {"act.output_quant", "six.output_quant", "head.input_quant"}
    assert found.ceilings == {"six.output_quant": 6.0, "head.input_quant": 6.0}
    assert found.ready == {"b": "act.output_quant"}, "the maximum of codes is a code; the mean is not"


@pytest.mark.parametrize(
    ("clip", "positive", "ceiling"),
    [
        (lambda x: x.clamp(0, 3), True, 3.0),
        (lambda x: x.clamp(min=0), True, None),
        (lambda x: x.clamp_(-1, 1), False, 1.0),
        (lambda x: F.hardtanh(x, 0.0, 2.0), True, 2.0),
        (lambda x: F.hardtanh(x), False, 1.0),
        (lambda x: F.relu(x, inplace=True), True, None),
        (lambda x: x.sigmoid(), True, None),
        (lambda x: F.gelu(x), False, None),
    ],
)
def test_signs_and_ceilings_of_clips(clip, positive, ceiling):
    found = grids_of(lambda m, x: m.b(clip(m.a(x))).mean((1, 2, 3)), a=conv(), b=conv(4))
    assert ("b.input_quant" in found.positive) is positive
    assert found.ceilings.get("b.input_quant") == ceiling
    assert "a.input_quant" not in found.positive, "a preprocessed image has both signs"


# Sums ------------------------------------------------------------------------------------------------


def test_the_operands_of_a_sum_share_a_grid():
    found = grids_of(
        lambda m, x: m.head(pooled(m.c(m.a(x) + m.b(x)))), a=conv(), b=conv(), c=conv(4), head=nn.Linear(4, 1)
    )
    assert {"a.output_quant", "b.output_quant"} in groups(found)
    assert "c" not in found.ready, "a sum has a bit more than its operands"


def test_a_sum_that_goes_into_another_is_quantized_anew():
    found = grids_of(
        lambda m, x: m.head(pooled(m.last(m.two(m.one(m.stem(x)))))), stem=conv(), one=Residual(4),
        two=Residual(4), last=conv(4), head=nn.Linear(4, 1),
    )  # fmt: skip
    assert groups(found)[:2] == [
        {"stem.output_quant", "one.body.output_quant"}, {"one.output_quant", "two.body.output_quant"}
    ]  # fmt: skip
    assert found.ready == {"one.body": "stem.output_quant", "two.body": "one.output_quant"}
    assert not any("two.output_quant" in group for group in found.shared), "only a layer reads it"


def test_a_sum_that_a_layer_and_a_sum_read_is_quantized_anew_though_no_module_returns_it():
    found = grids_of(
        lambda m, x: pooled(m.last((y := m.a(x) + m.b(x)) + m.c(y))).sum(1), a=conv(), b=conv(), c=conv(4),
        last=conv(4),
    )  # fmt: skip
    assert {"a.output_quant", "b.output_quant"} in groups(found)
    assert {"value_quants.3", "c.output_quant"} in groups(found), "a, b, and then the sum"
    assert found.ready == dict.fromkeys("ab", "value_quants.image") | {"c": "value_quants.3"}


@pytest.mark.parametrize("after", [nn.ReLU(), nn.ReLU(inplace=True)])
def test_behind_a_sums_activation_the_sign_is_known(after):
    found = grids_of(
        lambda m, x: m.head(pooled(m.last(m.two(m.one(m.stem(x)))))), stem=nn.Sequential(conv(), nn.ReLU()),
        one=Residual(4, after), two=Residual(4), last=conv(4), head=nn.Linear(4, 1),
    )  # fmt: skip
    assert {"stem.1.output_quant", "one.body.output_quant"} in groups(found)
    assert {"one.after.output_quant", "two.body.output_quant"} in groups(found)
    assert {"stem.1.output_quant", "one.after.output_quant"} <= set(found.positive)
    assert "one.body.output_quant" not in found.positive


def test_sums_in_place():
    def flow(m, x):
        y = m.a(x)
        y += m.b(x)
        return m.head(pooled(m.c(y)))

    found = grids_of(flow, a=conv(), b=conv(), c=conv(4), head=nn.Linear(4, 1))
    assert {"a.output_quant", "b.output_quant"} in groups(found)


def test_a_bias_is_no_sum_and_a_position_table_is():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.norm, self.head = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 1)
            self.first, self.places = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 5, 6))
            self.bias = nn.Parameter(torch.randn(6))

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2) + self.bias
            x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.places
            return self.head(self.norm(x)[:, 0])

    plan = make_plan(Tokens().eval(), torch.randn(2, 3, 8, 8))
    assert groups(plan.grids) == [{"value_quants.4", "first", "places"}], "what the bias was added to"

    class Modular(Tokens):
        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.places
            return self.head(self.norm(x)[:, 0])

    plan = make_plan(Modular().eval(), torch.randn(2, 3, 8, 8))
    assert groups(plan.grids) == [{"patch.output_quant", "first", "places"}]


def test_a_bias_in_any_shape_leaves_the_sum_before_it_alone():
    class Biased(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.bias = conv(), conv(4), nn.Parameter(torch.randn(4))

        def forward(self, x):
            return self.b(self.a(x) + self.bias.view(1, -1, 1, 1)).flatten(1).sum(1)

    found = make_plan(Biased().eval(), torch.randn(2, 3, 8, 8)).grids
    assert not any("a.output_quant" in group for group in found.shared)


def test_a_table_that_is_added_twice_puts_both_sums_on_its_grid():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.table = conv(), conv(4), nn.Parameter(torch.randn(1, 4, 8, 8))

        def forward(self, x):
            return pooled(self.b(self.a(x) + self.table) + self.table).sum(1)

    found = make_plan(Twice().eval(), torch.randn(2, 3, 8, 8)).grids
    assert groups(found)[0] == {"a.output_quant", "b.output_quant", "table"}
    assert sum(group.count("table") for group in found.shared) == 1


def test_a_concatenation_of_maps_has_one_grid_and_stays_codes():
    found = grids_of(
        lambda m, x: m.head(pooled(m.c(torch.cat([m.a(x), m.act(m.b(x))], 1)))), a=conv(), b=conv(),
        act=nn.ReLU(), c=conv(8), head=nn.Linear(4, 1),
    )  # fmt: skip
    assert {"a.output_quant", "act.output_quant"} in groups(found)
    assert found.ready["c"] == "a.output_quant"


# Where a quantizer may hang --------------------------------------------------------------------------


def test_a_module_called_twice_has_a_quantizer_for_each_call():
    found = grids_of(
        lambda m, x: m.head(pooled(m.c(m.act(m.a(x)) + m.act(m.b(x))))), a=conv(), b=conv(), act=nn.ReLU(),
        c=conv(4), head=nn.Linear(4, 1),
    )  # fmt: skip
    assert {"value_quants.2", "value_quants.4"} in groups(found), "behind the activation, in the caller"
    assert {"value_quants.2", "value_quants.4"} <= set(found.positive)
    assert found.callees == {"": ("a", "act", "b", "c", "head")}


def test_functional_activations_are_quantized_like_modules():
    found = grids_of(
        lambda m, x: m.head(pooled(F.relu(m.b(F.max_pool2d(F.relu(m.a(x)), 2))))), a=conv(), b=conv(4),
        head=nn.Linear(4, 1),
    )  # fmt: skip
    assert groups(found) == [{"value_quants.2"}, {"value_quants.5"}]
    assert {"value_quants.2", "value_quants.5"} <= set(found.positive)
    assert found.ready == {"b": "value_quants.2"}, "the maximum of codes is a code"


def test_a_value_that_its_module_reads_itself_is_not_quantized_there():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(), conv()

        def forward(self, x):
            y = self.a(x) + self.b(x)
            self.peak = F.max_pool2d(y, 2)
            return y

    found = grids_of(
        lambda m, x: m.head(pooled(m.three(m.one(x)))), one=Twice(), three=Residual(4), head=nn.Linear(4, 1)
    )
    assert not any("one.output_quant" in group for group in found.shared)
    assert {"one.a.output_quant", "one.b.output_quant"} in groups(found)
    assert {"one.value_quants.3", "three.body.output_quant"} in groups(found)


def test_an_attention_quantizes_its_own_products():
    model = timm.create_model(
        "deit_tiny_patch16_224", img_size=16, patch_size=8, depth=2, embed_dim=12, num_heads=2, num_classes=1
    )
    found = make_plan(model.eval(), torch.randn(1, 3, 16, 16)).grids
    assert [set(group) for group in found.shared] == [
        {"patch_embed.proj.output_quant", "cls_token", "pos_embed"},
        {"pos_drop.output_quant", "blocks.0.attn.proj.output_quant", "blocks.0.mlp.fc2.output_quant"},
        {"blocks.0.output_quant", "blocks.1.attn.proj.output_quant", "blocks.1.mlp.fc2.output_quant"},
    ]
    assert (found.positive, found.ceilings, found.ready) == ((), {}, {})


def test_an_image_that_several_layers_read_has_one_grid():
    found = grids_of(
        lambda m, x: m.head(pooled(m.c(torch.cat([m.a(x), m.b(x)], 1)))), a=conv(), b=conv(), c=conv(8),
        head=nn.Linear(4, 1),
    )  # fmt: skip
    assert {"value_quants.image"} in groups(found)
    assert found.ready["a"] == found.ready["b"] == "value_quants.image"


def test_in_a_module_called_twice_what_it_does_not_return_has_one_grid():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(4), conv(4)

        def forward(self, x):
            return self.b(F.max_pool2d(F.relu(self.a(x)), 3, 1, 1))

    found = grids_of(lambda m, x: pooled(m.one(m.one(m.stem(x)))).sum(1), stem=conv(), one=Twice())
    assert [group for group in groups(found) if "one.value_quants.2" in group] == [{"one.value_quants.2"}]
    assert found.callees["one"] == ("a", "b")


def test_a_sum_of_three_has_one_grid():
    found = grids_of(
        lambda m, x: m.head(pooled(F.relu((y := m.stem(x)) + m.a(y) + m.b(y)))), stem=conv(), a=conv(4),
        b=conv(4), head=nn.Linear(4, 1),
    )  # fmt: skip
    assert {"stem.output_quant", "a.output_quant", "b.output_quant"} in groups(found)


# Known networks --------------------------------------------------------------------------------------


def test_mobilenet():
    model = timm.create_model("mobilenetv2_035", num_classes=1).eval()
    plan = make_plan(model, torch.randn(1, 3, 32, 32))
    residual = [
        (f"blocks.{stage}.{index}.conv_pwl", f"blocks.{stage}.{index - 1}" + ".conv_pwl" * (index == 1))
        for stage, count in ((1, 2), (2, 3), (3, 4), (4, 3), (5, 3))
        for index in range(1, count)
    ]
    wanted = [{f"{name}.output_quant" for name in pair} for pair in residual]
    assert groups(plan.grids) == [*wanted, {"bn2.output_quant"}]
    unsigned = {layer.name for layer in plan.layers if layer.name.endswith(("_dw", "_pwl", "conv_pw"))}
    unsigned -= {name for name in unsigned if name.endswith("conv_pw") and not name.startswith("blocks.0")}
    assert {f"{name}.input_quant" for name in unsigned} | {
        "bn2.output_quant",
        "classifier.input_quant",
    } == set(plan.grids.positive)
    assert set(plan.grids.ceilings) == set(plan.grids.positive)
    assert set(plan.grids.ceilings.values()) == {6.0}
    assert set(plan.grids.ready) == {name.replace("conv_pwl", "conv_pw") for name, _ in residual}


def test_nine_convolutions():
    found = make_plan(ClassNSeg().eval(), torch.randn(1, 3, 32, 32)).grids
    assert groups(found) == [{"encoder.26.output_quant"}, {"value_quants.3"}], (
        "the map, and its absolute values"
    )
    assert len(found.positive) == 10


def test_json_there_and_back():
    model = timm.create_model("mobilenetv2_035", num_classes=1).eval()
    found = make_plan(model, torch.randn(1, 3, 32, 32)).grids
    assert Grids.from_dict(json.loads(json.dumps(asdict(found)))) == found
