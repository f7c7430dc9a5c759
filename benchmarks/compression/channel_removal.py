"""Units masked, while the network is trained, and removed for good: both compute the same."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from timm.layers.attention import Attention
from torch import Tensor, nn

from benchmarks.compression.channel_groups import Unit
from brevitas_defakeq.nn.module_tree import modules_by_name


@dataclass
class _Cut:
    """Output and input channels of one layer that go."""

    rows: list[Tensor] = field(default_factory=list)
    columns: list[Tensor] = field(default_factory=list)


def mask_(model: nn.Module, units: Iterable[Unit]) -> None:
    """Set the units' weights and biases to 0, in place; gradients do not change them any more."""
    modules = modules_by_name(model)
    for name, cut in _cuts(units).items():
        weight, bias = modules[name].get_parameter("weight"), modules[name].bias
        kept = torch.ones_like(weight)
        kept[_together(cut.rows)] = 0
        if cut.columns:
            kept[:, _together(cut.columns)] = 0
        _keep_masked_(weight, kept)
        if isinstance(bias, nn.Parameter):
            _keep_masked_(bias, torch.ones_like(bias).index_fill(0, _together(cut.rows), 0))


def remove_(model: nn.Module, units: Iterable[Unit]) -> None:
    """Take the units' channels out of the weights, in place."""
    units = list(units)
    modules = modules_by_name(model)
    for name, cut in _cuts(units).items():
        _shrink_(modules[name], cut)
    for name, heads in Counter(unit.attention for unit in units if unit.attention).items():
        attention = modules[name]
        assert isinstance(attention, Attention)
        left = attention.num_heads - heads
        vars(attention).update(num_heads=left, attn_dim=left * attention.head_dim)  # as timm's forward reads


def _keep_masked_(parameter: nn.Parameter, kept: Tensor) -> None:
    with torch.no_grad():
        parameter.mul_(kept)
    if parameter.requires_grad:
        parameter.register_hook(lambda gradient: gradient * kept)


def _cuts(units: Iterable[Unit]) -> dict[str, _Cut]:
    cuts: dict[str, _Cut] = defaultdict(_Cut)
    for unit in units:
        for name, rows in unit.rows.items():
            cuts[name].rows.append(rows)
        for name, columns in unit.columns.items():
            cuts[name].columns.append(columns)
    return cuts


def _together(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.long)


def _shrink_(layer: nn.Module, cut: _Cut) -> None:
    weight, bias = layer.get_parameter("weight"), layer.bias
    rows, columns = _others(len(weight), cut.rows), _others(weight.shape[1], cut.columns)
    layout = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
    layer.weight = nn.Parameter(weight.detach()[rows][:, columns].contiguous(memory_format=layout))
    if isinstance(bias, nn.Parameter):
        layer.bias = nn.Parameter(bias.detach()[rows])
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = len(rows), len(columns)
    elif isinstance(layer, nn.Conv1d | nn.Conv2d):
        grouped = layer.groups > 1
        layer.out_channels, layer.in_channels = len(rows), len(rows) if grouped else len(columns)
        layer.groups = len(rows) if grouped else 1


def _others(count: int, gone: list[Tensor]) -> Tensor:
    kept = torch.ones(count, dtype=torch.bool)
    kept[_together(gone)] = False
    return kept.nonzero().flatten()
