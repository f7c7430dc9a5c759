"""Meso4 and MesoInception4, as DeepfakeBench re-trains them and as the authors' Keras code has them.

Both are built by one architecture. They differ in the biases and the ReLU of the inception branches (only
Keras has them), in BatchNorm's epsilon and in the classes. DeepfakeBench shares one BatchNorm between two
convolutions, and Keras flattens pixels before channels: ``from_benchmark`` and ``from_keras`` convert the
weights accordingly.
"""

import re

import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.entry import State
from brevitas_defakeq.detectors.parts.keys import renamed
from brevitas_defakeq.detectors.parts.named_sequential import NamedSequential
from brevitas_defakeq.utils.errors import UserError

#: Keras' name of a tensor -> torch's.
_TENSORS = {
    "kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
    "moving_variance": "running_var",
}  # fmt: skip
_BRANCH_LAYERS = [f"branches.{n}.{part}" for n in range(4) for part in ("reduce", "conv")]
_INCEPTION = [part for part in _BRANCH_LAYERS if part != "branches.0.conv"]
#: The convolutions in the order in which Keras numbers them.
MESO4 = tuple(f"stages.{n}.conv" for n in range(4))
MESO_INCEPTION4 = (*(f"stages.{n}.conv.{part}" for n in (0, 1) for part in _INCEPTION), *MESO4[2:])


def meso4(*, keras: bool) -> NamedSequential:
    """Images [N, 3, 256, 256] to logits [N, 2], or to the logit of "real" [N, 1] for Keras'."""
    sizes = ((3, 8, 3), (8, 8, 5), (8, 16, 5), (16, 16, 5))
    return _network([_convolution(*size, keras) for size in sizes], (8, 8, 16, 16), keras)


def meso_inception4(*, keras: bool) -> NamedSequential:
    """Images [N, 3, 256, 256] to logits [N, 2], or to the logit of "real" [N, 1] for Keras'."""
    inceptions = [Inception(3, (1, 4, 4, 2), keras), Inception(11, (2, 4, 4, 2), keras)]
    convolutions = [_convolution(12, 16, 5, keras), _convolution(16, 16, 5, keras)]
    return _network([*inceptions, *convolutions], (11, 12, 16, 16), keras)


class Inception(nn.Module):
    """Four branches side by side: 1 x 1; 1 x 1 then 3 x 3; the same with dilation 2 and 3."""

    def __init__(self, before: int, widths: tuple[int, ...], keras: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        for dilation, width in enumerate(widths):
            parts = {"reduce": nn.Conv2d(before, width, 1, bias=keras)} | _relu("act1", keras)
            if dilation:
                parts["conv"] = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=keras)
                parts |= _relu("act2", keras)
            self.branches.append(NamedSequential(**parts))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def from_benchmark(state: State) -> State:
    """DeepfakeBench's names; a BatchNorm shared by two convolutions becomes two."""
    inception = {
        r"^Incption([12])_conv1\.": r"stages.\1.conv.branches.1.reduce.",
        r"^Incption([12])_conv([234])_1\.": r"stages.\1.conv.branches.\2.reduce.",
        r"^Incption([12])_conv([234])_2\.": r"stages.\1.conv.branches.\2.conv.",
        r"^Incption([12])_bn\.": r"stages.\1.norm.",
    }
    plain = renamed(state, {r"^backbone\.": ""})
    behind = 2 if any(name.startswith("Incption") for name in plain) else 0
    result = {}
    for name, tensor in renamed(plain, inception).items():
        part, _, rest = name.partition(".")
        convolution, norm = re.match(r"conv(\d)$", part), re.match(r"bn(\d)$", part)
        if convolution:
            result[f"stages.{int(convolution[1]) - 1 + behind}.conv.{rest}"] = tensor
        elif norm:
            first = 2 * (int(norm[1]) - 1) + behind
            result |= {f"stages.{stage}.norm.{rest}": tensor for stage in (first, first + 1)}
        else:
            result[_counted_from_zero(name)] = tensor
    return result


def from_keras(state: State, convolutions: tuple[str, ...]) -> State:
    """Keras' tensors under our names; ``convolutions``: our layers in the order of Keras' numbers."""
    targets_of = {
        "conv2d": convolutions,
        "batch_normalization": tuple(f"stages.{n}.norm" for n in range(4)),
        "dense": ("fc1", "fc2"),
    }
    layers = sorted({name.rpartition("/")[0] for name in state}, key=_number)
    ours: dict[str, str] = {}
    for kind, targets in targets_of.items():
        found = [layer for layer in layers if re.fullmatch(rf"{kind}(_\d+)?", layer)]
        if len(found) != len(targets):
            raise UserError(f"the file holds {len(found)} layers {kind!r}, this detector has {len(targets)}")
        ours |= dict(zip(found, targets, strict=True))
    return {
        f"{ours.get(layer, layer)}.{_TENSORS.get(tensor, tensor)}": _to_torch_axes(value, ours.get(layer))
        for (layer, _, tensor), value in ((name.rpartition("/"), value) for name, value in state.items())
    }


def _network(convolutions: list[nn.Module], widths: tuple[int, ...], keras: bool) -> NamedSequential:
    stages = []
    for convolution, width, pool in zip(convolutions, widths, (2, 2, 2, 4), strict=True):
        relu = _relu("act", isinstance(convolution, nn.Conv2d))
        norm = nn.BatchNorm2d(width, eps=1e-3 if keras else 1e-5)
        stages.append(NamedSequential(conv=convolution, **relu, norm=norm, pool=nn.MaxPool2d(pool)))
    return NamedSequential(
        stages=nn.Sequential(*stages), flatten=nn.Flatten(), fc1=nn.Linear(1024, 16), act=nn.LeakyReLU(0.1),
        fc2=nn.Linear(16, 1 if keras else 2),
    )  # fmt: skip


def _convolution(before: int, after: int, kernel: int, keras: bool) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=keras)


def _relu(name: str, wanted: bool) -> dict[str, nn.Module]:
    return {name: nn.ReLU()} if wanted else {}


def _counted_from_zero(name: str) -> str:
    """``stages.1`` (an inception part as published) is ``stages.0`` here, branch 2 ``branches.1``."""
    lowered = re.sub(r"^stages\.(\d)", lambda found: f"stages.{int(found[1]) - 1}", name)
    return re.sub(r"branches\.(\d)", lambda found: f"branches.{int(found[1]) - 1}", lowered)


def _number(layer: str) -> int:
    found = re.search(r"_(\d+)$", layer)
    return int(found[1]) if found else 0


def _to_torch_axes(value: Tensor, layer: str | None) -> Tensor:
    """A Keras tensor with torch's order of axes; the first Dense reads 8 x 8 pixels of 16 channels."""
    if value.ndim == 4:
        return value.permute(3, 2, 0, 1).contiguous()  # [kH, kW, in, out] -> [out, in, kH, kW]
    if layer == "fc1" and value.ndim == 2:
        return value.T.reshape(-1, 8, 8, 16).permute(0, 3, 1, 2).flatten(1)
    return value.T.contiguous() if value.ndim == 2 else value
