"""Attention of any rank as attention of four dimensions, the only one that torch's ONNX exporter writes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class FourDimensionalAttention(TorchFunctionMode):
    """``F.scaled_dot_product_attention`` of [..., L, E] computed as that of [N, H, L, E], and shaped back.

    Windowed attention has the windows as a dimension of their own (Twins), others leave the heads out. Calls
    with a mask that does not fit all leading dimensions at once are left as they are.
    """

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        options = kwargs or {}
        if function is F.scaled_dot_product_attention:
            return _attention(*args, **options)
        return function(*args, **options)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **options: Any
) -> Tensor:
    leading = query.shape[:-2]
    fits = key.shape[:-2] == value.shape[:-2] == leading and (attn_mask is None or attn_mask.dim() == 2)
    if query.dim() == 4 or not fits:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, *args, **options)
    query, key, value = (tensor.reshape(-1, 1, *tensor.shape[-2:]) for tensor in (query, key, value))
    found = F.scaled_dot_product_attention(query, key, value, attn_mask, *args, **options)
    return found.reshape(*leading, *found.shape[-2:])
