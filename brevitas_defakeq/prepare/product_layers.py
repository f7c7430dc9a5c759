"""Products that no layer computes, found in a trace and made into layers on the copy.

torch's multi-head attention, transposed convolutions, and functions called with a parameter.
"""

from collections.abc import Mapping, Sequence
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
from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.nn.multihead_attention import can_be_layered, make_layered_, without_fused_kernels_
from brevitas_defakeq.nn.transposed_convolution import TransposedConv2d
from brevitas_defakeq.prepare.trace import Call, Operation, Trace, version_of

_CLASSES: dict[str, type[nn.Module]] = {"linear": nn.Linear, "conv1d": nn.Conv1d, "conv2d": nn.Conv2d}
_GEOMETRY = ("stride", "padding", "dilation", "groups")
_QKV = ("query", "key", "value")


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


@dataclass(frozen=True)
class ProductLayers:
    """What is made into layers, by name.

    Attributes:
        transposed: ``ConvTranspose2d``s.
        multihead: ``nn.MultiheadAttention``s -> whether one layer projects query, key and value.
    """

    transposed: tuple[str, ...] = ()
    multihead: dict[str, bool] = field(default_factory=dict)
    functional: tuple[FunctionalProduct, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.transposed or self.multihead or self.functional)

    @classmethod
    def from_dict(cls, data: dict) -> "ProductLayers":
        functional = tuple(FunctionalProduct(**product) for product in data["functional"])
        return cls(tuple(data["transposed"]), dict(data["multihead"]), functional)

    def in_the_original(self, layer: str) -> str:
        """A layer, or for one that is made the module in whose place it computes."""
        made = {product.layer for product in self.functional if product.made}
        return layer.rpartition(".")[0] if layer in made else layer


def find_product_layers(model: nn.Module, traced: Trace) -> ProductLayers:
    """What of a traced float model can be made into layers."""
    modules = modules_by_name(model)
    multihead = {
        name: all(_of_one_tensor(call) for call in calls) and modules[name].in_proj_weight is not None
        for name, calls in traced.calls.items()
        if can_be_layered(modules[name]) and _private(modules[name], name, traced)
    }
    transposed = tuple(
        name
        for name, calls in traced.calls.items()
        if type(modules[name]).forward is nn.ConvTranspose2d.forward
        and all(len(call.inputs) == 1 and not call.options for call in calls)
    )
    return ProductLayers(transposed, multihead, tuple(_functional(model, traced)))


def make_product_layers_(
    model: nn.Module, products: ProductLayers, biases: Mapping[str, Tensor] = {}
) -> None:
    """Make the layers, in place.

    Args:
        biases: layer -> the constant that a functional product adds; those of a run come from its file.
    """
    without_fused_kernels_(model)
    for name in products.transposed:
        old = model.get_submodule(name)
        replace_module(model, old, TransposedConv2d.from_float(old))
    for name, packed in products.multihead.items():
        make_layered_(model.get_submodule(name), packed=packed)
    for product in products.functional:
        _make_(model, product, biases.get(product.layer))


def _of_one_tensor(call: Call) -> bool:
    """Whether an attention's query, key and value are the same tensor."""
    given = dict(zip(_QKV, call.inputs, strict=False)) | call.options
    return given["query"] is given["key"] is given["value"]


def _private(attention: nn.MultiheadAttention, name: str, traced: Trace) -> bool:
    """Whether nothing but the attention itself reads its weights."""
    weights = {id(parameter) for parameter in attention.parameters()}
    readers = (op for op in traced.operations if any(key in weights for key, _ in op.inputs))
    return all(op.owner == name for op in readers)


# Products by functions ---------------------------------------------------------------------------------


def constant_biases(model: nn.Module, traced: Trace, products: ProductLayers) -> dict[str, Tensor]:
    """Layer -> the bias that its functional product adds."""
    layers = {product.weight: product.layer for product in products.functional}
    found = {}
    for name, parameter in model.named_parameters():
        if name in layers:
            operation = _readers(parameter, traced)[0]
            bias = _arguments(operation).get("bias")
            if bias is not None:
                found[layers[name]] = bias.detach().clone()
    return found


def _functional(model: nn.Module, traced: Trace) -> list[FunctionalProduct]:
    modules, constants = dict(model.named_modules()), _constants(model, traced)
    found = []
    for name, parameter in model.named_parameters():
        readers = _readers(parameter, traced)
        if readers and len(readers) == len(traced.readers_of(parameter)):
            product = _product(name, parameter, readers, modules, traced, constants)
            if product is not None:
                found.append(product)
    return found


def _readers(parameter: Tensor, traced: Trace) -> list[Operation]:
    """The calls of a function of ours with that weight."""
    return [
        op
        for op in traced.operations
        if op.name in LAYER_FUNCTIONS | MATRIX_FUNCTIONS and operands(op.args, op.options)[1] is parameter
    ]


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
        and find_layer_kind(module) is None
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


def _make_(model: nn.Module, product: FunctionalProduct, bias: Tensor | None) -> None:
    holder, _, parameter = product.weight.rpartition(".")
    if product.made:
        layer = _built(empty_(model.get_submodule(holder), parameter), product)
        model.get_submodule(holder).add_module(product.layer.rpartition(".")[2], layer)
    layer = model.get_submodule(product.layer)
    layer.bias = None if bias is None else nn.Parameter(bias)
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
