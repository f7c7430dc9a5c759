"""Calls of torch functions with a parameter, found in a trace: ``F.linear(x, self.weight)`` and the like."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.functional_products import (
    LAYER_FUNCTIONS,
    MATRIX_FUNCTIONS,
    answer_,
    empty_,
    operands,
)
from brevitas_defakeq.nn.layer_kinds import find_layer_kind
from brevitas_defakeq.nn.module_tree import own_forwards
from brevitas_defakeq.prepare.trace import Operation, Trace, trace, version_of

_CLASSES: dict[str, type[nn.Module]] = {"linear": nn.Linear, "conv1d": nn.Conv1d, "conv2d": nn.Conv2d}
_GEOMETRY = ("stride", "padding", "dilation", "groups")


@dataclass(frozen=True)
class FunctionalProduct:
    """A product that the forward of ``owner`` computes by a function.

    Attributes:
        owner: a module; "" for the network itself.
        weight: the parameter.
        layer: computes it: the module that the parameter belongs to, or one that is made.
        function: "linear", "conv1d", "conv2d", or one of ``MATRIX_FUNCTIONS``.
        geometry: further arguments of a convolution.
    """

    owner: str
    weight: str
    layer: str
    function: str
    geometry: dict[str, Any] = field(default_factory=dict)

    @property
    def made(self) -> bool:
        """Whether the layer is made, not there already."""
        return self.weight != f"{self.layer}.weight"


def constant_biases(
    model: nn.Module, traced: Trace, products: Sequence[FunctionalProduct]
) -> dict[str, Tensor]:
    """Layer -> the bias that its functional product adds."""
    calls, found = _calls_by_weight(model, traced), {}
    for product in products:
        bias = _arguments(calls[id(model.get_parameter(product.weight))][0]).get("bias")
        if bias is not None:
            found[product.layer] = bias.detach().clone()
    return found


def functional_products(model: nn.Module, traced: Trace) -> list[FunctionalProduct]:
    """The products of a traced float model that can be made into layers."""
    calls = _calls_by_weight(model, traced)
    if not calls:
        return []
    modules, constants = dict(model.named_modules()), _constants(model, traced)
    found = []
    for name, parameter in model.named_parameters():
        readers = calls.get(id(parameter), ())
        if readers and len(readers) == len(traced.readers_of(parameter)):
            product = _product(name, parameter, readers, modules, traced, constants)
            if product is not None:
                found.append(product)
    direct = _called_directly(model, traced, [product.layer for product in found if not product.made])
    return [product for product in found if product.layer not in direct]


def _called_directly(model: nn.Module, traced: Trace, layers: Sequence[str]) -> set[str]:
    """The layers whose ``forward`` is called and not they themselves: hooks would see nothing of it."""
    direct: set[str] = set()
    modules = {name: model.get_submodule(name) for name in layers}

    def noting(name: str, forward: Callable) -> Callable:
        def run(*args: Any, **options: Any) -> Any:
            direct.add(name)
            return forward(*args, **options)

        return run

    with own_forwards(modules.values()):
        for name, layer in modules.items():
            layer.forward = noting(name, layer.forward)
        if modules:
            trace(model, traced.images)
    return direct


def _calls_by_weight(model: nn.Module, traced: Trace) -> dict[int, list[Operation]]:
    """``id`` of a weight -> the calls of these functions with it, outside layers."""
    modules, functions = dict(model.named_modules()), LAYER_FUNCTIONS | MATRIX_FUNCTIONS
    found: dict[int, list[Operation]] = {}
    for operation in traced.operations:
        if operation.name in functions and find_layer_kind(modules[operation.owner]) is None:
            found.setdefault(id(operands(operation.args, operation.options)[1]), []).append(operation)
    return found


def _product(
    name: str, parameter: Tensor, readers: Sequence[Operation], modules: Mapping[str, nn.Module],
    traced: Trace, constants: set,
) -> FunctionalProduct | None:  # fmt: skip
    first, holder = readers[0], name.rpartition(".")[0]
    owner, function = first.owner, first.name
    arguments = [_arguments(op) for op in readers]
    geometry = {key: arguments[0][key] for key in _GEOMETRY if key in arguments[0]}
    module, kind = modules[owner], find_layer_kind(modules[holder])
    fits = (
        all(op.owner == owner and op.name == function for op in readers)
        and all({key: given.get(key) for key in geometry} == geometry for given in arguments)
        and (not owner or name.startswith(f"{owner}."))
        and not isinstance(module, nn.MultiheadAttention | torch.jit.ScriptModule)
        and "forward" not in vars(module)
        and parameter.dim() == {"conv1d": 3, "conv2d": 4}.get(function, 2)
        and _same_bias([given.get("bias") for given in arguments], constants)
    )
    if not fits:
        return None
    if kind is None:
        return FunctionalProduct(owner, name, _layer_name(name), function, geometry)
    layer = modules[holder]
    suits = holder not in traced.calls and function in kind.functions and _has_geometry(layer, geometry)
    return FunctionalProduct(owner, name, holder, function) if suits else None


def _arguments(operation: Operation) -> dict[str, Any]:
    """The arguments of a product's function by name."""
    return (
        dict(zip(("input", "weight", "bias", *_GEOMETRY), operation.args, strict=False)) | operation.options
    )


def _layer_name(weight: str) -> str:
    holder, _, parameter = weight.rpartition(".")
    name = "product" if parameter == "weight" else f"{parameter}_product"
    return f"{holder}.{name}" if holder else name


def _has_geometry(layer: nn.Module, geometry: Mapping[str, Any]) -> bool:
    """Whether a layer computes what its function did with these arguments."""
    if isinstance(layer, nn.Linear):
        return True
    with torch.device("meta"):
        like = type(layer)(layer.in_channels, layer.out_channels, layer.kernel_size, **geometry)
    return layer.padding_mode == "zeros" and all(
        getattr(layer, key) == getattr(like, key) for key in _GEOMETRY
    )


def _same_bias(biases: Sequence[Tensor | None], constants: set) -> bool:
    """Whether every call adds the same constant, or nothing."""
    first = biases[0]
    if first is None:
        return all(bias is None for bias in biases)
    return all(
        bias is not None and version_of(bias) in constants and torch.equal(bias, first) for bias in biases
    )


def _constants(model: nn.Module, traced: Trace) -> set:
    """The values that are parameters and buffers, or made of them alone."""
    found = {version_of(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for operation in traced.operations:
        if operation.inputs and all(key in found for key in operation.inputs):
            found.update(operation.outputs)
    return found


def make_functional_(model: nn.Module, product: FunctionalProduct, bias: Tensor | None) -> None:
    """Make the layer of a product, in place.

    Args:
        bias: the constant that the product adds.
    """
    holder, _, parameter = product.weight.rpartition(".")
    if product.made:
        layer = _built(empty_(model.get_submodule(holder), parameter), product)
        model.get_submodule(holder).add_module(product.layer.rpartition(".")[2], layer)
    layer = model.get_submodule(product.layer)
    layer.register_parameter("bias", None if bias is None else nn.Parameter(bias))
    start = len(product.owner) + 1 if product.owner else 0
    answer_(model.get_submodule(product.owner), product.weight[start:], product.layer[start:])


def _built(weight: Tensor, product: FunctionalProduct) -> nn.Module:
    """The layer that computes the function with this weight."""
    cls = _CLASSES.get(product.function, nn.Linear)
    weight = weight.detach().t() if product.function in MATRIX_FUNCTIONS else weight.detach()
    inputs = weight.shape[1] * int(product.geometry.get("groups", 1))
    kernel = () if cls is nn.Linear else (tuple(weight.shape[2:]),)
    with torch.device("meta"):
        layer = cls(inputs, weight.shape[0], *kernel, bias=False, **product.geometry)
    layer.weight = nn.Parameter(weight.clone())
    return layer.eval()
