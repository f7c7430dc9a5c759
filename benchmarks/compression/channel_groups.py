"""Which channels of a network can be removed, found by watching where NaN goes.

A channel is removable where all that reads it are layers: each layer below is given NaN in some output
channels, and every layer's input is looked at for where they arrive. Two rounds of one forward pass do:

1. one image for each layer, all of whose outputs are NaN: which input channels of other layers it reaches;
2. two images for each bit of a channel's number, all layers at once: NaN where the bit is set, and where it
   is not. An input channel that has NaN in one of the two for every bit has one channel before it, whose
   number the bits are. Norms and products over channels spread NaN over all: such channels stay.

A layer stops NaN; a depthwise convolution passes it on, channel by channel, and loses those channels with its
neighbours. Layers whose channels arrive together (sums, gates) form one group. Heads of timm's ``Attention``
are known by its structure, since the reshape hides them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from timm.layers.attention import Attention
from torch import Tensor, nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.nn.layer_kinds import channel_dim
from brevitas_defakeq.nn.module_tree import modules_by_name, removed_after
from brevitas_defakeq.prepare.plan import Plan


@dataclass(frozen=True)
class Unit:
    """What goes together: output channels ``rows`` and input channels ``columns`` of layers, by name.

    ``attention`` is the module that has one head less without it.
    """

    rows: Mapping[str, Tensor]
    columns: Mapping[str, Tensor]
    attention: str | None = None


@dataclass
class _Arrivals:
    """Input channels that NaN reached, by layer: bool [images, C_in]; and the images whose score has NaN."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    scores: Tensor = field(default_factory=lambda: torch.empty(0))


def head_units(model: nn.Module, plan: Plan) -> list[list[Unit]]:
    """The heads of every timm ``Attention`` whose layers are in the plan."""
    names = {layer.name for layer in plan.layers}
    groups = []
    for name, module in modules_by_name(model).items():
        qkv, projection = f"{name}.qkv", f"{name}.proj"
        if type(module) is not Attention or not names.issuperset((qkv, projection)):
            continue
        channels = torch.arange(module.attn_dim).view(module.num_heads, module.head_dim)
        parts = torch.arange(3).view(1, 3, 1) * module.attn_dim  # q, k and v
        rows = (channels[:, None] + parts).flatten(1)
        pairs = zip(rows, channels, strict=True)
        groups.append([Unit({qkv: row}, {projection: column}, name) for row, column in pairs])
    return groups


@torch.no_grad()
def channel_units(model: nn.Module, plan: Plan, observer: Observer, image: Tensor) -> list[list[Unit]]:
    """Groups of single channels, each of one layer or of several that go together.

    Args:
        model: prepared float model.
        image: one preprocessed image, [1, 3, H, W].
    """
    modules = modules_by_name(model)
    layers = {layer.name: modules[layer.name] for layer in plan.layers}
    once = {layer.name for layer in plan.layers if layer.calls == 1}
    riders = {name for name, layer in layers.items() if _is_depthwise(layer) and name in once}
    closed = {name for name, layer in layers.items() if name not in riders and not _is_open(layer)}
    closed |= set(layers) - once
    producers = [name for name in layers if name not in riders | closed]
    counts = {name: len(layers[name].get_parameter("weight")) for name in producers}

    everything = {
        name: torch.eye(len(producers), dtype=torch.bool)[index][:, None].expand(-1, counts[name])
        for index, name in enumerate(producers)
    }
    reached = _arrivals(model, layers, riders, everything, observer, image)
    bits = max(counts.values(), default=1).bit_length()
    masks = {}
    for name, count in counts.items():
        number = (torch.arange(count) >> torch.arange(bits)[:, None]) & 1
        masks[name] = torch.stack([number == 1, number == 0], dim=1).flatten(0, 1)
    coded = _arrivals(model, layers, riders, masks, observer, image)
    numbers = {name: _decoded(found) for name, found in coded.inputs.items()}

    kept = {name for index, name in enumerate(producers) if reached.scores[index]}
    together = {name: {name} for name in producers}
    places: dict[str, dict[str, Tensor]] = {name: {} for name in producers}  # input channels it reaches
    for target, edges in reached.inputs.items():
        for index, name in enumerate(producers):
            if not edges[index].any():
                continue
            number = numbers[target][edges[index]]
            if target in closed or (number < 0).any() or (number >= counts[name]).any():
                kept.add(name)
            places[name][target] = edges[index]
        for channel in edges.unique(dim=1).T:
            _join(together, [producers[index] for index in channel.nonzero().flatten().tolist()])
    groups = []
    for members in {id(found): found for found in together.values()}.values():
        sizes = {counts[name] for name in members}
        if not members & kept and len(sizes) == 1:
            groups.append(_units(sorted(members), sizes.pop(), places, numbers, riders))
    return [group for group in groups if group]


def _units(
    members: list[str], count: int, places: Mapping[str, Mapping[str, Tensor]],
    numbers: Mapping[str, Tensor], riders: set[str],
) -> list[Unit]:  # fmt: skip
    """The units of a group; none where a channel is read by nobody."""
    arrived: dict[str, Tensor] = {}
    for name in members:
        for target, found in places[name].items():
            arrived[target] = arrived.get(target, torch.zeros_like(found)) | found
    units = []
    for channel in range(count):
        at = {
            name: (found & (numbers[name] == channel)).nonzero().flatten() for name, found in arrived.items()
        }
        at = {name: index for name, index in at.items() if len(index)}
        columns = {name: index for name, index in at.items() if name not in riders}
        if not columns:
            return []
        rows = {name: torch.tensor([channel]) for name in members}
        rows |= {name: index for name, index in at.items() if name in riders}
        units.append(Unit(rows, columns))
    return units


def _join(together: dict[str, set[str]], names: list[str]) -> None:
    union = set().union(*(together[name] for name in names))
    for name in union:
        together[name] = union


def _decoded(found: Tensor) -> Tensor:
    """NaN by image [2 * bits, C] -> the one channel before each, -1 where there is not exactly one, [C]."""
    ones, zeros = found[0::2], found[1::2]
    number = (ones.long() << torch.arange(len(ones))[:, None]).sum(dim=0)
    return torch.where((ones ^ zeros).all(dim=0), number, -1)


def _is_depthwise(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return False
    return layer.groups == layer.in_channels == layer.out_channels > 1


def _is_open(layer: nn.Module) -> bool:
    """Whether rows and columns of the layer's weight are its output and input channels."""
    if isinstance(layer, nn.Linear):
        return True
    return isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups == 1


def _arrivals(
    model: nn.Module, layers: Mapping[str, nn.Module], riders: set[str], masks: Mapping[str, Tensor],
    observer: Observer, image: Tensor,
) -> _Arrivals:  # fmt: skip
    """One pass with NaN in the output channels ``masks`` (bool [images, C_out]) of layers."""
    count = len(next(iter(masks.values()), torch.empty(1)))
    found = _Arrivals()
    with _probed(layers, riders, masks, count, found):
        score = observer.logit(model(image.repeat(count, 1, 1, 1)))
    found.scores = score.isnan()
    return found


@contextmanager
def _probed(
    layers: Mapping[str, nn.Module], riders: set[str], masks: Mapping[str, Tensor], count: int,
    found: _Arrivals,
) -> Iterator[None]:  # fmt: skip
    def before(name: str, layer: nn.Module, inputs: tuple) -> tuple:
        broken = inputs[0].isnan()
        moved = broken.movedim(channel_dim(layer), -1)
        if len(moved) % count:  # images are not in front: whatever arrives is of unknown origin
            arrived = broken.any().expand(count, moved.shape[-1])
        else:
            arrived = moved.reshape(count, -1, moved.shape[-1]).any(dim=1)
        found.inputs[name] = found.inputs.get(name, False) | arrived
        return inputs if name in riders else (inputs[0].nan_to_num(), *inputs[1:])

    def after(name: str, layer: nn.Module, output: Tensor) -> Tensor | None:
        if name not in masks or len(output) % count:
            return None
        moved = output.clone().movedim(channel_dim(layer), -1)
        grouped = moved.reshape(count, -1, moved.shape[-1])
        changed = grouped.masked_fill(masks[name][:, None], float("nan"))
        return changed.reshape(moved.shape).movedim(-1, channel_dim(layer))

    handles = []
    for name, layer in layers.items():
        handles.append(
            layer.register_forward_pre_hook(lambda layer, inputs, name=name: before(name, layer, inputs))
        )
        handles.append(
            layer.register_forward_hook(lambda layer, _, output, name=name: after(name, layer, output))
        )
    with removed_after(handles):
        yield
