"""Networks as people write them, for integer hardware: one residual network in many ways, and others."""

import operator

import torch
from small_networks import Net
from torch import nn
from torch.nn import functional as F


def conv(channels_in, channels_out, stride=1, groups=1, kernel=3):
    parts = [
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
    ]
    return nn.Sequential(*parts)


def layer(*sizes, **options):
    return nn.Sequential(*conv(*sizes, **options), nn.ReLU())


@torch.no_grad()
def warmed(model, size=16):
    """Statistics from noise, so that the network is lively."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    model.train()
    for _ in range(8):
        model(torch.randn(16, 3, size, size))
    return model.eval()


# One residual network, written in many ways ------------------------------------------------------------


class Add(nn.Module):
    def forward(self, x, y):
        return x + y


def _modules(m, x):
    x = m.first(m.a(x))
    x = m.second(m.add(x, m.b(x)))
    return m.head(m.flat(m.pool(m.third(m.also(x, m.c(x))))))


def _functions(m, x):
    x = F.relu(m.a(x))
    x = F.relu(x + m.b(x))
    return m.head(F.relu(x + m.c(x)).mean((2, 3)))


def _shared(m, x):
    x = m.relu(m.a(x))
    y = m.b(x)
    y += x
    x = m.relu(y)
    y = m.c(x)
    y += x
    return m.head(F.adaptive_avg_pool2d(m.relu(y), 1).flatten(1))


def _in_place(m, x):
    x = m.a(x)
    x.relu_()
    y = m.b(x)
    y.add_(x)
    torch.relu_(y)
    z = operator.iadd(m.c(y), y)
    z = F.relu(z, inplace=True)
    return m.head(torch.flatten(F.adaptive_avg_pool2d(z, (1, 1)), 1))


def _methods(m, x):
    x = torch.relu(m.a(x))
    x = torch.add(x, m.b(x)).relu()
    x = torch.clamp(operator.add(x, m.c(x)), min=0)
    return m.head(torch.mean(x, [2, 3], keepdim=True).reshape(len(x), -1))


def _sums(m, x):
    x = m.a(x).clamp_(min=0)
    x = F.relu_(sum([x, m.b(x)]))
    return m.head(F.relu(sum((x, m.c(x)))).mean((-1, -2)))


def _statements(m, x):
    x = m.a(x)
    m.relu(x)
    y = m.b(x)
    y += x
    m.relu(y)
    z = m.c(y)
    z += y
    m.relu(z)
    return m.head(z.mean((2, 3)))


def _modules_of(relu):
    names = ("first", "second", "third")
    return {**{name: relu() for name in names}, "add": Add(), "also": Add(), "pool": nn.AdaptiveAvgPool2d(1),
            "flat": nn.Flatten()}  # fmt: skip


class Block(nn.Module):
    def __init__(self, body, relu):
        super().__init__()
        self.body, self.relu = body, relu

    def forward(self, x):
        return self.relu(x + self.body(x))


def _sequence(a, b, c, head):
    relu = nn.ReLU(inplace=True)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(a, relu, Block(b, relu), Block(c, relu), *pool, head)


#: Name -> a residual network; all compute the same.
RESIDUALS = {
    "modules": lambda parts: Net(_modules, **parts, **_modules_of(nn.ReLU)),
    "modules in place": lambda parts: Net(_modules, **parts, **_modules_of(lambda: nn.ReLU(inplace=True))),
    "functions": lambda parts: Net(_functions, **parts),
    "shared": lambda parts: Net(_shared, **parts, relu=nn.ReLU()),
    "shared in place": lambda parts: Net(_shared, **parts, relu=nn.ReLU(inplace=True)),
    "in place": lambda parts: Net(_in_place, **parts),
    "methods": lambda parts: Net(_methods, **parts),
    "sums": lambda parts: Net(_sums, **parts),
    "statements": lambda parts: Net(_statements, **parts, relu=nn.ReLU(inplace=True)),
    "sequence": lambda parts: _sequence(**parts),
}


def residual(name):
    """One of ``RESIDUALS``, images [N, 3, 16, 16] -> [N, 1]."""
    torch.manual_seed(0)
    parts = {"a": conv(3, 8, 2), "b": conv(8, 8), "c": conv(8, 8), "head": nn.Linear(8, 1)}
    return warmed(RESIDUALS[name](parts))


# Networks that have to map -----------------------------------------------------------------------------


def end(m, x):
    return m.head(x.mean((2, 3)))


def _dense(m, x):
    x = m.stem(x)
    x = torch.cat([x, m.one(x)], 1)
    x = m.squeeze(torch.cat([x, m.two(x)], 1))
    return m.head(F.adaptive_avg_pool2d(m.last(x + m.point(m.depth(x))), 1).flatten(1))


def dense():
    """Dense blocks, then a depthwise residual around what a max pooling made."""
    squeeze = nn.Sequential(*layer(20, 12, kernel=1), nn.MaxPool2d(2))
    return Net(
        _dense, stem=layer(3, 8, 2), one=layer(8, 6), two=layer(14, 6), squeeze=squeeze,
        depth=layer(12, 12, groups=12), point=conv(12, 12, kernel=1), last=nn.ReLU(), head=nn.Linear(12, 1),
    )  # fmt: skip


def dense_before_norms():
    """BatchNorm and ReLU behind the concatenation of an unsigned and a signed map."""

    def flow(m, x):
        x = m.a(x)
        x = torch.cat([x, m.b(F.relu(m.one(x)))], 1)
        return end(m, F.relu(m.two(x)))

    return Net(
        flow, a=layer(3, 6, 2), one=nn.BatchNorm2d(6), b=nn.Conv2d(6, 4, 3, 1, 1), two=nn.BatchNorm2d(10),
        head=nn.Linear(10, 1),
    )  # fmt: skip


def norm_behind_pooling():
    """Pooling, flatten, LayerNorm, Linear: the end of a ConvNeXt."""
    return Net(
        lambda m, x: m.head(m.norm(F.adaptive_avg_pool2d(m.a(x), 1).flatten(1))), a=layer(3, 8, 2),
        norm=nn.LayerNorm(8), head=nn.Linear(8, 1),
    )  # fmt: skip


def norm_before_flatten():
    """LayerNorm on the channels of a map, which is then flattened."""
    return Net(
        lambda m, x: m.head(m.norm(m.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).flatten(1)),
        a=layer(3, 4, 4), norm=nn.LayerNorm(4), head=nn.Linear(64, 1),
    )  # fmt: skip


def with_the_image():
    """The image joined to its features."""
    return Net(
        lambda m, x: end(m, m.b(torch.cat([x, m.a(x)], 1))), a=layer(3, 5), b=layer(8, 6, 2),
        head=nn.Linear(6, 1),
    )  # fmt: skip


def shuffled():
    """Two units of a ShuffleNet."""

    def flow(m, x):
        one, two = m.a(x).chunk(2, 1)
        x = torch.cat([one, m.b(two)], 1)
        x = x.view(len(x), 2, 4, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        one, two = torch.split(x, 4, 1)
        return end(m, m.d(torch.cat([one, m.c(two)], 1)))

    return Net(
        flow, a=layer(3, 8, 2), b=layer(4, 4), c=layer(4, 4), d=layer(8, 6, kernel=1), head=nn.Linear(6, 1)
    )


def doubled():
    """x + x."""
    return Net(
        lambda m, x: end(m, F.relu((y := m.b(m.a(x))) + y)), a=layer(3, 6, 2), b=conv(6, 6),
        head=nn.Linear(6, 1),
    )  # fmt: skip


def called_twice():
    """A residual block that runs twice."""
    return Net(
        lambda m, x: end(m, m.block(m.block(m.a(x)))), a=layer(3, 6, 2), block=Block(conv(6, 6), nn.ReLU()),
        head=nn.Linear(6, 1),
    )  # fmt: skip


#: Networks that map to integer hardware.
MAPPED = (dense, dense_before_norms, norm_behind_pooling, norm_before_flatten, with_the_image, shuffled,
          doubled, called_twice)  # fmt: skip


# Networks that are refused -----------------------------------------------------------------------------


def _one(flow, width=4):
    """``flow`` behind one layer."""
    return lambda: Net(flow, a=layer(3, 4, 2), b=conv(4, 4), head=nn.Linear(width, 1))


def _assigned(m, x):
    x = m.a(x)
    x[:, :2] += m.b(x)[:, :2]
    return end(m, x)


#: A word of the line that names the reason -> a network.
REFUSED = {
    "another axis": _one(lambda m, x: end(m, torch.cat([m.b(y := m.a(x)), y], 2))),
    "with itself": _one(lambda m, x: end(m, torch.cat([y := m.a(x), y], 1)), 8),
    "depend on the image": _one(lambda m, x: end(m, (y := m.a(x)) * y)),
    "two scales": _one(lambda m, x: end(m, torch.add(y := m.a(x), m.b(y), alpha=2))),
    "Slice": _one(_assigned),
    "some axes": _one(lambda m, x: m.head(m.a(x).mean(3).mean(2))),
    "more than four dimensions": _one(
        lambda m, x: end(m, m.a(x).reshape(len(x), 4, 4, 2, 8).transpose(2, 4).reshape(len(x), 4, 8, 8))
    ),
}
