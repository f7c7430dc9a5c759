"""Plans of awkward modules of a user's own."""

import pytest
import torch
from planned import plan_of
from small_networks import Net
from timm.layers import BatchNormAct2d
from timm.layers.conv2d_same import Conv2dSame
from timm.models.vision_transformer import Attention
from torch import nn
from torch.nn import functional as F


def names(plan):
    return [layer.name for layer in plan.layers]


def pooled(x):
    return x.mean((2, 3))


# Data flow -------------------------------------------------------------------------------------------


def test_a_layer_called_twice():
    model = Net(
        lambda m, x: m.head(pooled(m.twice(F.relu(m.twice(m.stem(x)))))),
        stem=nn.Conv2d(3, 4, 1), twice=nn.Conv2d(4, 4, 3, padding=1), head=nn.Linear(4, 1),
    )  # fmt: skip
    plan, _ = plan_of(model)
    assert names(plan) == ["stem", "twice", "head"]
    twice = plan.layers[1]
    assert (twice.calls, twice.macs) == (2, 2 * 4 * 81 * 36)


def test_a_layer_never_reached_is_named_and_left_out():
    model = Net(lambda m, x: m.head(pooled(x)), head=nn.Linear(3, 1), aux=nn.Linear(3, 5))
    plan, _ = plan_of(model)
    assert names(plan) == ["head"]
    assert plan.left_float == {"aux": "never reached by the forward pass"}


@pytest.mark.parametrize("wrap", [lambda y, x: {"cls": y, "feat": x}, lambda y, x: (y, [x])])
def test_dict_and_tuple_outputs(wrap):
    def flow(m, x):
        features = pooled(m.stem(x))
        return wrap(m.head(features), features)

    plan, _ = plan_of(Net(flow, stem=nn.Conv2d(3, 4, 3), head=nn.Linear(4, 2)))
    assert names(plan) == ["stem", "head"]
    assert plan.head == "head"


def test_blocks_that_return_tuples_or_take_two_tensors_are_taken_apart():
    class TwoOut(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.a(x), self.b(x)

    class TwoIn(TwoOut):
        def forward(self, x, y):
            return self.a(x) + self.b(y)

    model = Net(
        lambda m, x: pooled(m.two_in(*m.two_out(m.stem(x)))),
        stem=nn.Conv2d(3, 4, 1), two_out=TwoOut(), two_in=TwoIn(),
    )  # fmt: skip
    plan, _ = plan_of(model)
    assert [block.name for block in plan.blocks] == ["stem", "two_out.a", "two_out.b", "two_in.a", "two_in.b"]


def test_shared_modules_and_shared_weights():
    shared = nn.Conv2d(3, 3, 1)
    model = Net(
        lambda m, x: m.tied(pooled(m.b(F.relu(m.a(x))))) + m.owner(pooled(x)),
        a=shared, b=shared, owner=nn.Linear(3, 3), tied=nn.Linear(3, 3),
    )  # fmt: skip
    model.tied.weight = model.owner.weight
    plan, _ = plan_of(model)
    assert names(plan) == ["a", "tied"]
    assert plan.layers[0].calls == 2
    assert plan.left_float == {"owner": "shares its weight with tied"}


def test_keyword_calls():
    model = Net(
        lambda m, x: m.head(input=pooled(m.conv(input=x))), conv=nn.Conv2d(3, 4, 3), head=nn.Linear(4, 1)
    )
    plan, _ = plan_of(model)
    assert names(plan) == []
    assert set(plan.left_float) == {"conv", "head"}, "whose input later stages could not see"


# Kinds of layers -------------------------------------------------------------------------------------


class Scaled(nn.Linear):
    """Computes something else."""

    def forward(self, x):
        return F.linear(x, self.weight, self.bias) * 2


class Renamed(nn.Linear):
    """No forward of its own."""


class Logging(nn.Conv2d):
    """A forward of its own that computes the same."""

    def forward(self, x):
        self.observed = tuple(x.shape)
        return super().forward(x)


def test_subclasses():
    model = Net(
        lambda m, x: m.scaled(m.renamed(pooled(m.logging(x)))),
        logging=Logging(3, 4, 3), renamed=Renamed(4, 4), scaled=Scaled(4, 2),
    )  # fmt: skip
    plan, _ = plan_of(model)
    assert names(plan) == ["logging", "renamed"]
    assert list(plan.left_float) == ["scaled"]
    assert "Scaled" in plan.left_float["scaled"] and "Linear" in plan.left_float["scaled"]


def test_a_subclass_before_an_in_place_activation_is_still_recognized():
    model = Net(
        lambda m, x: m.head(pooled(m.act(m.logging(x)))),
        logging=Logging(3, 4, 3), act=nn.ReLU(inplace=True), head=nn.Linear(4, 1),
    )  # fmt: skip
    plan, _ = plan_of(model)
    assert names(plan) == ["logging", "head"], plan.left_float


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        return torch.mm(x, self.matrix)


@pytest.mark.parametrize(
    ("part", "flow"),
    [
        (
            nn.MultiheadAttention(4, 2, batch_first=True, add_bias_kv=True),
            lambda m, y: m.part(y, y, y)[0].mean(1),
        ),
        (nn.ConvTranspose1d(9, 3, 2), lambda m, y: m.part(y.flatten(2)[:, :9]).mean(2)),
        (nn.LSTM(4, 3, batch_first=True), lambda m, y: m.part(y)[0].mean(1)),
        (nn.GRU(4, 3, batch_first=True), lambda m, y: m.part(y)[0].mean(1)),
        (nn.Conv3d(1, 3, (1, 2, 2)), lambda m, y: m.part(y[:, None, None]).mean((2, 3, 4))),
        (nn.Bilinear(4, 4, 3), lambda m, y: m.part(y[:, 0].contiguous(), y[:, 1].contiguous())),
        (Own(), lambda m, y: m.part(y[:, 0, :3])),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_unknown_kinds_stay_float_with_a_reason(part, flow):
    def forward(m, x):
        tokens = m.stem(x).flatten(2).transpose(1, 2)[:, :9]  # [N, 9, 4]
        return m.head(flow(m, tokens))

    wide = 4 if isinstance(part, nn.MultiheadAttention) else 3
    plan, _ = plan_of(Net(forward, stem=nn.Conv2d(3, 4, 1), part=part, head=nn.Linear(wide, 1)))
    assert names(plan) == ["stem", "head"]
    assert type(part).__name__ in plan.left_float["part"]
    assert plan.embeddings == (), "a weight is not a table of positions"
    assert not any("never reached" in reason for reason in plan.left_float.values())


class Scored(Attention):
    """A subclass may compute anything, so its products stay float; its layers are ordinary ones."""

    def forward(self, x, attn_mask=None, is_causal=False):
        return super().forward(2 * x)


def test_a_subclass_of_attention_is_named():
    model = Net(
        lambda m, x: m.head(m.attn(m.stem(x).flatten(2).transpose(1, 2)).mean(1)),
        stem=nn.Conv2d(3, 8, 3, stride=3), attn=Scored(8, num_heads=2), head=nn.Linear(8, 1),
    )  # fmt: skip
    plan, _ = plan_of(model)
    assert names(plan) == ["stem", "attn.qkv", "attn.proj", "head"]
    assert plan.attentions == ()
    assert "Scored" in plan.left_float["attn"]


def test_a_transposed_convolution():
    model = Net(
        lambda m, x: m.head(pooled(m.up(m.stem(x)))),
        stem=nn.Conv2d(3, 4, 3), up=nn.ConvTranspose2d(4, 4, 2, stride=2), head=nn.Conv1d(1, 2, 4),
    )  # fmt: skip
    model.flow = lambda m, x: m.head(pooled(m.up(m.stem(x)))[:, None])
    plan, _ = plan_of(model)
    assert names(plan) == ["stem", "up", "head"]
    assert [layer.kind for layer in plan.layers] == ["Conv2d", "ConvTranspose2d", "Conv1d"]


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_multiplies_each_input_by_its_kernels(groups):
    """9 x 9 positions of 4 channels, each into 8 / groups channels of a 4 x 4 kernel, at any stride."""
    for stride, side in ((1, 10), (2, 18), (3, 26)):
        up = nn.ConvTranspose2d(4, 8, 4, stride=stride, padding=1, groups=groups)
        model = Net(
            lambda m, x: m.head(pooled(m.up(m.stem(x)))), stem=nn.Conv2d(3, 4, 3, padding=1), up=up,
            head=nn.Linear(8, 1),
        )  # fmt: skip
        plan, _ = plan_of(model)
        layer = plan.layers[1]
        assert (layer.macs, layer.outputs) == (9 * 9 * 4 * (8 // groups) * 16, 8 * side * side)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same"},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": 1, "padding_mode": "circular"},
        {"stride": 2, "dilation": 2, "groups": 3, "out_channels": 6},
    ],
)
def test_convolution_options_are_kept(options):
    conv = nn.Conv2d(3, options.pop("out_channels", 4), 3, **options)
    model = Net(lambda m, x: m.head(pooled(m.conv(x))), conv=conv, head=nn.Linear(conv.out_channels, 1))
    plan, _ = plan_of(model)
    assert names(plan) == ["conv", "head"]


def test_embeddings():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 8, 3, stride=3)
            self.position = nn.Parameter(torch.randn(1, 9, 8))
            self.cls = nn.Parameter(torch.randn(1, 1, 8))  # one row: not a table
            self.table = nn.Embedding(5, 8)
            self.gain = nn.Parameter(torch.ones(8, 1))  # one column
            self.unused = nn.Parameter(torch.randn(4, 8))
            self.norm = nn.LayerNorm([9, 8])  # a norm's weight with two dimensions
            self.head = nn.Linear(8, 1)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2) + self.position
            x = self.norm(x) * self.gain.T + self.table(torch.arange(4)).mean(0)
            return self.head((x + self.cls).mean(1))

    plan, _ = plan_of(Tokens())
    assert set(plan.embeddings) == {"position", "table.weight"}


# Folding ---------------------------------------------------------------------------------------------


def test_batch_norm_act_keeps_its_activation():
    model = Net(
        lambda m, x: m.head(pooled(m.norm(m.conv(x)))),
        conv=nn.Conv2d(3, 4, 3, bias=False), norm=BatchNormAct2d(4), head=nn.Linear(4, 1),
    )  # fmt: skip
    plan, made = plan_of(model)
    assert plan.folds == (("conv", "norm"),)
    assert isinstance(made.norm, nn.ReLU)
    assert made.conv.bias is not None


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_conv1d_norms_fold(affine, bias):
    model = Net(
        lambda m, x: m.bn2(m.fc(m.bn1(m.conv(x.flatten(2))).mean(2))),
        conv=nn.Conv1d(3, 4, 3, bias=bias), bn1=nn.BatchNorm1d(4, affine=affine),
        fc=nn.Linear(4, 5, bias=bias), bn2=nn.BatchNorm1d(5, affine=affine),
    )  # fmt: skip
    plan, made = plan_of(model)
    assert plan.folds == (("conv", "bn1"), ("fc", "bn2"))
    assert isinstance(made.bn1, nn.Identity)


class Gained(nn.BatchNorm2d):
    def forward(self, x):
        return 2.0 * super().forward(x)


KEPT = {
    "two readers": (lambda m, x: m.head(pooled(m.norm(y := m.conv(x)) + y)), {}),
    "convolution used twice": (lambda m, x: m.head(pooled(m.norm(m.conv(x)) + m.conv(2 * x))), {}),
    "norm used twice": (lambda m, x: m.head(pooled(m.norm(m.conv(x)) + m.norm(x[:, [0, 1, 2, 0]]))), {}),
    "no convolution before": (lambda m, x: m.head(pooled(m.norm(m.conv(x).relu()))), {}),
    "output handed out": (lambda m, x: {"y": m.head(pooled(m.norm(y := m.conv(x)))), "raw": y}, {}),
    "own forward": (lambda m, x: m.head(pooled(m.norm(m.conv(x)))), {"norm": Gained(4)}),
    "batch statistics": (
        lambda m, x: m.head(pooled(m.norm(m.conv(x)))),
        {"norm": nn.BatchNorm2d(4, track_running_stats=False)},
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_norms_that_must_not_be_folded(case):
    flow, parts = KEPT[case]
    parts = {
        "conv": nn.Conv2d(3, 4, 3, padding=1),
        "norm": nn.BatchNorm2d(4),
        "head": nn.Linear(4, 1),
        **parts,
    }
    plan, made = plan_of(Net(flow, **parts))
    assert plan.folds == ()
    assert isinstance(made.norm, nn.BatchNorm2d)


def test_a_norm_over_tokens_is_not_folded_into_a_linear():
    """BatchNorm1d on [N, tokens, C] normalizes tokens; here there are as many tokens as channels."""
    model = Net(
        lambda m, x: m.norm(m.fc(x.flatten(2)[:, :, :6].transpose(1, 2))).mean((1, 2)),
        fc=nn.Linear(3, 6), norm=nn.BatchNorm1d(6),
    )  # fmt: skip
    plan, _ = plan_of(model)
    assert plan.folds == ()


# 'same' padding --------------------------------------------------------------------------------------


def test_same_padding_becomes_static():
    model = Net(
        lambda m, x: m.head(pooled(m.norm(m.same(x)))),
        same=Conv2dSame(3, 4, 4, stride=2, bias=False), norm=nn.BatchNorm2d(4), head=nn.Linear(4, 1),
    )  # fmt: skip
    plan, made = plan_of(model)
    # 9 -> 5 outputs: (5 - 1) * 2 + 4 - 9 = 3 in all, one before and two behind
    assert plan.paddings == {"same": (1, 2, 1, 2)}
    assert plan.folds == (("same", "norm"),)
    assert type(made.same).__name__ == "StaticPadConv2d"


def test_same_padding_at_two_sizes_is_not_made_static():
    model = Net(
        lambda m, x: m.head(pooled(m.same(x)) + pooled(m.same(x[:, :, :8, :8]))),
        same=Conv2dSame(3, 4, 3, stride=2), head=nn.Linear(4, 1),
    )  # fmt: skip
    plan, _ = plan_of(model)
    assert plan.paddings == {}
    assert "same" in plan.left_float
