"""Odd but legitimate detectors [N, 3, 24, 24] -> scores; ``MODELS`` holds a factory for each."""

import dataclasses
from types import MethodType

import torch
from timm.layers import DropPath
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

SIZE = 24


def stage(before, after):
    return nn.Sequential(nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class Base(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Sequential(stage(channels, 12), stage(12, 16)), nn.Linear(16, 2)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.2)
                part.running_var.uniform_(0.1, 0.3)

    def features(self, x):
        return self.body(x).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


class Collector:
    """Lists what layers return, until the list is taken."""

    def __init__(self, layers):
        self.found = []
        for layer in layers:
            layer.register_forward_hook(self.add)

    def add(self, module, inputs, output):
        self.found.append(output)

    def taken(self):
        found, self.found = self.found, []
        return found


class CollectsByHooks(Base):
    def __init__(self):
        super().__init__()
        self.head, self.collector = nn.Linear(28, 2), Collector([self.body[0][0], self.body[1][2]])

    def forward(self, x):
        self.body(x)
        return self.head(torch.cat([found.mean((2, 3)) for found in self.collector.taken()], 1))


class HooksChangeValues(Base):
    def __init__(self):
        super().__init__()
        self.body[1][0].register_forward_hook(lambda module, inputs, output: 10 * output)
        self.head.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))


class HoldsLayersTwice(Base):
    """By a list, a bound method, a child's forward, and a second name."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        self.third = nn.Conv2d(16, 16, 1)
        for layer in (self.first, self.second, self.third):
            layer.weight = nn.Parameter(3 * layer.weight.detach())
        self.again, self.layers = self.third, [self.first]
        self.call, self.last = self.second.forward, self.third_twice

    def third_twice(self, x):
        return self.again(self.third(x).relu())

    def forward(self, x):
        return self.head(self.last(self.call(self.layers[0](self.body(x)).relu()).relu()).mean((2, 3)))


class ForwardsCalledDirectly(Base):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x):
        return self.head.forward(self.conv.forward(self.body.forward(x)).mean((2, 3)))


class Autocast(Base):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = self.features(x)
        return self.head(features.float())


class AuxiliaryHead(Base):
    def __init__(self):
        super().__init__()
        self.aux = nn.Linear(16, 5)

    def forward(self, x, *, scale=1):
        features = self.features(x)
        return {"cls": scale * self.head(features), "aux": self.aux(features), "feat": features}


class Dataclass(Base):
    @dataclasses.dataclass
    class Result:
        logits: torch.Tensor
        features: torch.Tensor

    def forward(self, x):
        features = self.features(x)
        return self.Result(self.head(features), features)


class Recurrent(Base):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(16, 12, batch_first=True, bidirectional=True), nn.Linear(24, 1)

    def forward(self, x):
        return self.head(self.rnn(self.body(x).flatten(2).transpose(1, 2))[0][:, -1])


class Spectrum(Base):
    def __init__(self):
        super().__init__(6)
        self.register_buffer("phase", torch.polar(torch.ones(SIZE, SIZE), torch.rand(SIZE, SIZE)))

    def forward(self, x):
        spectrum = torch.fft.fft2(x, norm="ortho") * self.phase
        return super().forward(torch.cat([x, spectrum.abs().log1p()], 1))


class NestedAttention(Base):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict({"seq": nn.MultiheadAttention(16, 2)})
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x):
        tokens = self.body(x).flatten(2).permute(2, 0, 1)
        return self.head(self.encoder(self.parts["seq"](tokens, tokens, tokens)[0].transpose(0, 1)).mean(1))


class Stochastic(Base):
    """Left in training mode."""

    def __init__(self):
        super().__init__()
        self.conv, self.path, self.drop = nn.Conv2d(16, 16, 1), DropPath(0.5), nn.Dropout(0.5)

    def features(self, x):
        x = checkpoint(self.body, x, use_reentrant=False)
        return self.drop((x + self.path(self.conv(x))).mean((2, 3)))


class PatchedForwards(Base):
    def __init__(self):
        super().__init__()
        self.forward = MethodType(lambda own, x: own.head(2 * own.features(x)), self)
        old = self.head.forward
        self.head.forward = lambda x: 3 * old(x)


class _Centred(nn.Module):
    def forward(self, weight):
        return weight - weight.mean(dim=(1, 2, 3), keepdim=True)


class Parametrized(Base):
    def __init__(self):
        super().__init__()
        parametrize.register_parametrization(self.body[1][0], "weight", _Centred())
        nn.utils.parametrizations.orthogonal(self.head)


class SeveralScales(Base):
    def forward(self, x):
        halved = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
        return torch.stack([super(SeveralScales, self).forward(image) for image in (x, halved)]).mean(0)


def compiled():
    return torch.compile(Base(), backend="eager")


def parallel_half():
    return nn.DataParallel(Base().to(torch.float16))


MODELS = {
    made.__name__: made
    for made in (
        CollectsByHooks,
        HooksChangeValues,
        HoldsLayersTwice,
        ForwardsCalledDirectly,
        Autocast,
        AuxiliaryHead,
        Dataclass,
        Recurrent,
        Spectrum,
        NestedAttention,
        Stochastic,
        PatchedForwards,
        Parametrized,
        SeveralScales,
        compiled,
        parallel_half,
    )
}
