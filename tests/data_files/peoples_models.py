"""Small detectors of the kinds that people bring: images [N, 3, 64, 64] in [0, 1] (mean 0, std 1).

Each factory returns (module, preprocessing fields), as ``module:factory`` detectors do.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

SIZE = 64
FIELDS = {"input_size": SIZE, "mean": 0.0, "std": 1.0}


def stage(before: int, after: int) -> nn.Sequential:
    """A convolution of stride 2, a BatchNorm and a ReLU."""
    return nn.Sequential(nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class Plain(nn.Module):
    """Two stages and a head; the BatchNorms have statistics as after some training."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Sequential(stage(3, 16), stage(16, 32)), nn.Linear(32, 2)
        enliven_(self)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


@torch.no_grad()
def enliven_(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)


class NormalizesInPlace(Plain):
    """Changes the batch that it is handed."""

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.45).div_(0.22)
        return super().forward(x)


class SigmoidInside(Plain):
    """One probability out; the option --output is left out."""

    def forward(self, x: Tensor) -> Tensor:
        z = super().forward(x)
        return torch.sigmoid(z[:, 1:] - z[:, :1])


class GrowingList(nn.Module):
    """Concatenates a list that grows afterwards, as DenseNets do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = stage(3, 16), nn.Conv2d(16, 16, 3, 1, 1), nn.Linear(32, 2)
        enliven_(self)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.first(x)]
        found.append(F.relu(self.second(torch.cat(found, 1))))
        return self.head(torch.cat(found, 1).mean((2, 3)))


class Views(nn.Module):
    """Flattens a feature map by view."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Sequential(stage(3, 16), stage(16, 8)), nn.Linear(8 * 16 * 16, 2)
        enliven_(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(x.view(x.size(0), -1))


class VolumeBeside(Plain):
    """A five-dimensional parameter that the images never reach."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv3d(1, 1, 3)


class OneNormTwoConvolutions(Plain):
    """A BatchNorm that runs behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 16, 5, 2, 2)

    def features(self, x: Tensor) -> Tensor:
        first, norm, act = self.body[0]
        x = act(norm(first(x))) + act(norm(self.other(x.flip(-1))))
        return self.body[1](x).mean((2, 3))


class FixedBatch(Plain):
    """``len(x)`` in forward: an exporter that traces it writes one batch size into the file."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).reshape(len(x), 4, 8).transpose(1, 2).reshape(len(x), 32)
        return self.head(x)


class MaskBuffer(Plain):
    """A buffer that holds -inf by design."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))


class LearnedPrompt(Plain):
    """A layer that reads learned tokens instead of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt, self.project = nn.Parameter(torch.randn(1, 32)), nn.Linear(32, 32)

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + self.project(self.prompt)


class StrideOfThree(Plain):
    """A 1 x 1 convolution of stride 2 on three channels (RepVGG, MobileOne, FastViT begin so)."""

    def __init__(self) -> None:
        super().__init__()
        self.beside = nn.Conv2d(3, 16, 1, 2)

    def features(self, x: Tensor) -> Tensor:
        return self.body[1](self.body[0](x) + self.beside(x)).mean((2, 3))


def _weight_norm() -> nn.Module:
    model = Plain()
    parametrizations.weight_norm(model.body[0][0])
    return model


def _spectral_norm() -> nn.Module:
    model = Plain()
    for part in (model.body[0][0], model.head):
        parametrizations.spectral_norm(part)
    return model


def _synchronized_norm() -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(Plain())


_KINDS: dict[str, Callable[[], nn.Module]] = {
    "plain": Plain,
    "normalizes_in_place": NormalizesInPlace,
    "sigmoid_inside": SigmoidInside,
    "growing_list": GrowingList,
    "views": Views,
    "volume_beside": VolumeBeside,
    "one_norm_two_convolutions": OneNormTwoConvolutions,
    "synchronized_norm": _synchronized_norm,
    "fixed_batch": FixedBatch,
    "mask_buffer": MaskBuffer,
    "learned_prompt": LearnedPrompt,
    "stride_of_three": StrideOfThree,
    "weight_norm": _weight_norm,
    "spectral_norm": _spectral_norm,
}
NAMES = tuple(_KINDS)


def build(name: str) -> tuple[nn.Module, dict[str, object]]:
    """The model of that name in evaluation mode, and its preprocessing fields."""
    return _KINDS[name]().eval(), dict(FIELDS)


def __getattr__(name: str) -> Callable[[], tuple[nn.Module, dict[str, object]]]:
    """``peoples_models:NAME`` on the command line."""
    if name not in _KINDS:
        raise AttributeError(name)
    return lambda: build(name)
