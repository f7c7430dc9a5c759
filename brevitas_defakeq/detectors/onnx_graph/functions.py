"""ONNX operators without weights as torch functions with JSON keywords."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Number = Tensor | float


def _maximum(*values: Number) -> Tensor:
    return _extreme(values, torch.maximum, "min")


def _minimum(*values: Number) -> Tensor:
    return _extreme(values, torch.minimum, "max")


def _extreme(values: Sequence[Number], function: Callable[..., Tensor], bound: str) -> Tensor:
    tensors = [value for value in values if isinstance(value, Tensor)]
    result = tensors[0]
    for tensor in tensors[1:]:
        result = function(result, tensor)
    for value in values:
        result = result if isinstance(value, Tensor) else result.clamp(**{bound: value})
    return result


def _sum(*values: Number) -> Number:
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


def _divide(x: Number, y: Number) -> Tensor:
    return torch.div(*_tensors(x, y))


def _tensors(x: Number, y: Number) -> tuple[Tensor, Number]:
    """Torch's functions want a tensor first."""
    return (x if isinstance(x, Tensor) else torch.tensor(x)), y


def _compared(name: str) -> Callable[..., Tensor]:
    function = getattr(torch, name)

    def compare(x: Number, y: Number) -> Tensor:
        result: Tensor = function(*_tensors(x, y))
        return result

    return compare


def _pow(x: Number, y: Number) -> Tensor:
    return torch.pow(x, y)  # type: ignore[arg-type]


def _where(condition: Tensor, x: Number, y: Number) -> Tensor:
    return torch.where(condition, x, y)


def _reduced(name: str) -> Callable[..., Tensor]:
    function = getattr(torch, name)

    def reduce(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
        result: Tensor = function(x, axes, keepdim=keepdim)
        return result

    return reduce


def _norm(order: int) -> Callable[..., Tensor]:
    def norm(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
        result: Tensor = torch.linalg.vector_norm(x, order, axes, keepdim=keepdim)
        return result

    return norm


def _sum_square(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    return x.square().sum(axes, keepdim=keepdim)


def _prod(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keepdim)
    return x


def _slice(x: Tensor, axes: list[int], starts: list[int], stops: list[int], steps: list[int]) -> Tensor:
    index: list[slice] = [slice(None)] * x.dim()
    for axis, start, end, step in zip(axes, starts, stops, steps, strict=True):
        if step < 0:  # torch has no negative steps
            x, start, end, step = x.flip(axis), -1 - start, -1 - end, -step
            start = start + x.shape[axis] if start < 0 else start
            end = end + x.shape[axis] if end < 0 else end
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _split(x: Tensor, sizes: list[int], axis: int) -> tuple[Tensor, ...]:
    return x.split(sizes, axis)


def _concat(*values: Tensor, axis: int, repeated: Sequence[int] = (), like: int = 0) -> Tensor:
    """The ``repeated`` operands are the same for each image of the batch, which ``like`` has."""
    parts = [
        value.expand(values[like].shape[0], *value.shape[1:]) if position in repeated else value
        for position, value in enumerate(values)
    ]
    return torch.cat(parts, axis)


def _expand(x: Tensor, shape: list[int]) -> Tensor:
    return x.expand(shape)


def _take(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """ONNX's Gather: the index may have any number of axes."""
    taken = x.index_select(axis, index.reshape(-1))
    return taken.unflatten(axis, tuple(index.shape)) if index.dim() != 1 else taken


def _squeeze(x: Tensor, axes: list[int]) -> Tensor:
    return x.squeeze(tuple(axes))


def _unsqueeze(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x


def _pad(x: Tensor, pads: list[int], mode: str, value: float = 0.0) -> Tensor:
    return F.pad(x, pads, mode, value if mode == "constant" else None)


def _average_pool(x: Tensor, pads: list[int], **window: Any) -> Tensor:
    """An average over a window with uneven padding that does not count."""
    pool = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.dim()]
    counted = F.pad(torch.ones_like(x[:1, :1]), pads)
    return pool(F.pad(x, pads), **window) / pool(counted, **window)


def _flat_softmax(x: Tensor, axis: int) -> Tensor:
    """Softmax before opset 13: over all axes from ``axis`` on."""
    return x.flatten(axis).softmax(-1).view(x.shape)


def _depth_to_space(x: Tensor, size: int, mode: str) -> Tensor:
    if mode == "CRD":
        return F.pixel_shuffle(x, size)
    n, c, h, w = x.shape
    x = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // size**2, h * size, w * size)


def _space_to_depth(x: Tensor, size: int) -> Tensor:
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * size**2, h // size, w // size)


def _interpolate(
    x: Tensor, size: list[int], mode: str, align_corners: bool | None = None,
    scales: list[float] | None = None,
) -> Tensor:  # fmt: skip
    """To a size, or by scales whose products with the sides are no whole numbers."""
    if scales is not None:
        return F.interpolate(x, scale_factor=scales, mode=mode, align_corners=align_corners)
    return F.interpolate(x, size=size, mode=mode, align_corners=align_corners)


def _einsum(*values: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation, *values)


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return (x * alpha + beta).clamp(0.0, 1.0)


def _local_response(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    return F.local_response_norm(x, size, alpha, beta, k)


def _causal_mask(scores: Tensor) -> Tensor:
    return scores + torch.full(scores.shape[-2:], -math.inf).triu(1)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: torch.add(*_tensors(x, y)),
    "sub": lambda x, y: torch.sub(*_tensors(x, y)),
    "mul": lambda x, y: torch.mul(*_tensors(x, y)),
    "div": _divide,
    "pow": _pow,
    "matmul": torch.matmul,
    "maximum": _maximum,
    "minimum": _minimum,
    "sum_all": _sum,
    "mean_all": lambda *values: _sum(*values) / len(values),
    "where": _where,
    "reshape": lambda x, shape: x.reshape(shape),
    "permute": lambda x, axes: x.permute(axes),
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "expand": _expand,
    "tile": lambda x, repeats: x.repeat(repeats),
    "concat": _concat,
    "split": _split,
    "slice": _slice,
    "take": _take,
    "select": lambda x, axis, index: x.select(axis, index),
    "gather_elements": lambda x, index, axis: x.gather(axis, index),
    "pad": _pad,
    "average_pool": _average_pool,
    "flat_softmax": _flat_softmax,
    "mean": _reduced("mean"),
    "sum": _reduced("sum"),
    "amax": _reduced("amax"),
    "amin": _reduced("amin"),
    "logsumexp": _reduced("logsumexp"),
    "prod": _prod,
    "l1": _norm(1),
    "l2": _norm(2),
    "sum_square": _sum_square,
    "normalize": lambda x, order, axis: F.normalize(x, order, axis, 0.0),
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
    "interpolate": _interpolate,
    "einsum": _einsum,
    "hard_sigmoid": _hard_sigmoid,
    "local_response_norm": _local_response,
    "causal_mask": _causal_mask,
    "clamp": lambda x, low, high: x.clamp(low, high),
    "cumsum": lambda x, axis: x.cumsum(axis),
    "argmax": lambda x, axis, keepdim: x.argmax(axis, keepdim),
    "to": lambda x, dtype: x.to(getattr(torch, dtype)),
    "convolution": lambda x, weight, **geometry: (
        {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.dim()](x, weight, **geometry)
    ),
    **{
        name: getattr(torch, name)
        for name in (
            "exp", "log", "sqrt", "reciprocal", "neg", "abs", "sin", "cos", "erf", "floor", "ceil", "round",
            "sign", "isnan", "logical_not", "logical_and", "logical_or",
        )
    },
    **{name: _compared(name) for name in ("eq", "gt", "lt", "ge", "le")},
}  # fmt: skip
