"""Products that no layer computes, found in a trace and made into layers on the copy.

torch's multi-head attention, transposed convolutions, and functions called with a parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.nn.multihead_attention import can_be_layered, make_layered_, without_fused_kernels_
from brevitas_defakeq.nn.transposed_convolution import TransposedConv2d
from brevitas_defakeq.prepare.functional_calls import (
    FunctionalProduct,
    functional_products,
    make_functional_,
)
from brevitas_defakeq.prepare.layer_subclasses import called_plainly
from brevitas_defakeq.prepare.trace import Call, Trace

_QKV = ("query", "key", "value")
_NO_BIASES: Mapping[str, Tensor] = MappingProxyType({})


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
    multihead = {}
    for name, calls in traced.calls.items():
        attention = modules[name]
        if can_be_layered(attention) and _private(attention, name, traced):
            one = all(_of_one_tensor(call) for call in calls)
            multihead[name] = one and attention._parameters["in_proj_weight"] is not None
    transposed = tuple(
        name
        for name in traced.calls
        if type(modules[name]).forward is nn.ConvTranspose2d.forward
        and "forward" not in vars(modules[name])
        and called_plainly(traced, name)
    )
    return ProductLayers(transposed, multihead, tuple(functional_products(model, traced)))


def make_product_layers_(
    model: nn.Module, products: ProductLayers, biases: Mapping[str, Tensor] = _NO_BIASES
) -> None:
    """Make the layers, in place.

    Args:
        biases: layer -> the constant that a functional product adds; those of a run come from its file.
    """
    without_fused_kernels_(model)
    for name in products.transposed:
        old = model.get_submodule(name)
        if not isinstance(old, nn.ConvTranspose2d):
            raise TypeError(f"{name} is no ConvTranspose2d")
        replace_module(model, old, TransposedConv2d.from_float(old))
    for name, packed in products.multihead.items():
        attention = model.get_submodule(name)
        if not can_be_layered(attention):
            raise TypeError(f"{name} is no MultiheadAttention")
        make_layered_(attention, packed=packed)
    for product in products.functional:
        make_functional_(model, product, biases.get(product.layer))


def _of_one_tensor(call: Call) -> bool:
    """Whether an attention's query, key and value are the same tensor."""
    given = dict(zip(_QKV, call.inputs, strict=False)) | call.options
    return given["query"] is given["key"] is given["value"]


def _private(attention: nn.MultiheadAttention, name: str, traced: Trace) -> bool:
    """Whether nothing but the attention itself reads its weights."""
    weights = {id(parameter) for parameter in attention.parameters()}
    readers = (op for op in traced.operations if any(key in weights for key, _ in op.inputs))
    return all(op.owner == name for op in readers)
