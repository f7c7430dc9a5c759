"""The attention weights of a forward pass, whichever code computes them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from brevitas_defakeq.prepare.trace import function_name, tensors_in

_PRODUCTS = {"matmul", "__matmul__", "bmm", "einsum"}


class AttentionWeights(TorchFunctionMode):
    """Keeps, within its context, the weights that each attention multiplies its values by.

    Written-out attention is a softmax, and a product whose left operand has as many rows and columns: that
    operand, so that a quantizer in between counts. Fused attention never has its weights as a tensor: they
    are computed a second time. Nothing of the network is changed, and its results are its own.

    Attributes:
        kept: in order of the calls, [..., T, S], without gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []
        self._softmax: torch.Size | None = None  # its shape, until it is multiplied

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        options = kwargs or {}
        result = function(*args, **options)
        name = function_name(function)
        if name == "softmax":
            self._softmax = result.shape
        elif name in _PRODUCTS and self._softmax is not None:
            left = next(tensors_in((args, options)))
            if left.shape[-2:] == self._softmax[-2:] and left.numel() == self._softmax.numel():
                self._keep(left)
        elif name in _OF_FUSED:
            with torch.no_grad():
                self._keep(_OF_FUSED[name](function, *args, **options))
        return result

    def is_operand(self, values: Tensor) -> bool:
        """Whether this is a query, a key, a value or weights: 4-D, but no feature map."""
        return any(
            values.shape[:3] in (each.shape[:-1], (*each.shape[:-2], each.shape[-1])) for each in self.kept
        )

    def _keep(self, weights: Tensor) -> None:
        self.kept.append(weights.detach())
        self._softmax = None


def _of_dot_product(
    function: Callable, query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any
) -> Tensor:
    """With the identity in place of the values, the result is the weights."""
    identity = torch.eye(value.shape[-2], dtype=value.dtype, device=value.device)
    weights: Tensor = function(query, key, identity.expand(*value.shape[:-1], -1), *args, **options)
    return weights


def _of_multi_head(function: Callable, *args: Any, **options: Any) -> Tensor:
    """torch's own function gives them on request."""
    _, weights = function(*args, **{**options, "need_weights": True, "average_attn_weights": False})
    return weights


#: Functions that compute a whole attention -> their weights, [N, heads, T, S], from the same arguments.
_OF_FUSED: dict[str, Callable[..., Tensor]] = {
    "scaled_dot_product_attention": _of_dot_product,
    "multi_head_attention_forward": _of_multi_head,
}
