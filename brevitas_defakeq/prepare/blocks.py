"""The units of reconstruction: residual or transformer blocks, single layers between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from brevitas_defakeq.prepare.image_dimension import ImageDimensions
from brevitas_defakeq.prepare.trace import Trace

#: A unit holds at most this many quantized layers (an Xception block has 6, EfficientNet 5, ViT 4).
MAX_LAYERS = 6
_IN_FRONT: ImageDimensions = MappingProxyType({})


@dataclass(frozen=True)
class Block:
    """One unit: a module called once, one tensor in and one out, and its layers in call order.

    Attributes:
        image_dim: dimension of both tensors that counts images (1 for [tokens, N, C]).
    """

    name: str
    layers: tuple[str, ...]
    image_dim: int = 0


def split_into_blocks(
    model: nn.Module,
    traced: Trace,
    layers: tuple[str, ...],
    wanted: Sequence[str] = (),
    dims: ImageDimensions = _IN_FRONT,
) -> tuple[Block, ...]:
    """Largest modules that can be run on their own and hold at most ``MAX_LAYERS`` layers, or are ``wanted``.

    A container with several such children (``Sequential``, ``ModuleList``) is taken apart; a layer in no
    unit is one by itself. The result is in data-flow order and holds every layer once.
    """
    units: list[Block] = []

    def visit(name: str, module: nn.Module) -> None:
        inside = tuple(layer for layer in layers if layer == name or layer.startswith(f"{name}."))
        if not inside:
            return
        children = [
            child
            for child, _ in module.named_children()
            if any(layer == f"{name}.{child}" or layer.startswith(f"{name}.{child}.") for layer in inside)
        ]
        container = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict) and len(children) > 1
        calls = traced.calls.get(name, [])
        dim = dims.get(name, 0)
        whole = len(calls) == 1 and calls[0].single_tensor() and dim is not None
        small = len(inside) <= MAX_LAYERS and not container
        if name in layers or (whole and (small or name in wanted)):
            units.append(Block(name, inside, dim or 0))
            return
        for child, submodule in module.named_children():
            visit(f"{name}.{child}", submodule)

    for name, module in model.named_children():
        visit(name, module)
    position = {name: index for index, name in enumerate(layers)}
    return tuple(sorted(units, key=lambda unit: position[unit.layers[0]]))
