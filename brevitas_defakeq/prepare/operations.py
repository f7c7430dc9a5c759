"""Torch functions as integer hardware sees them: moving, clipping, adding and pooling values."""

import math
from collections.abc import Sequence

from torch import Tensor

from brevitas_defakeq.prepare.trace import Operation

#: Functions that only move values.
DATA_MOVEMENT = {
    "reshape", "view", "flatten", "unflatten", "permute", "transpose", "swapaxes", "movedim", "t",
    "contiguous", "clone", "squeeze", "unsqueeze", "__getitem__", "unbind", "chunk", "split", "narrow",
    "tensor_split", "split_with_sizes", "unsafe_chunk", "unsafe_split", "select", "index_select", "expand",
    "expand_as", "repeat", "dropout", "dropout2d", "pad", "roll", "channel_shuffle", "pixel_unshuffle",
    "detach", "to", "type_as", "float", "__get__", "view_as", "reshape_as", "alias", "flip",
}  # fmt: skip
CLIPS = {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_min_",
          "clip", "clip_"}  # fmt: skip
ADDITIONS = {"add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "__sub__", "__isub__"}
JOINS = {"cat", "concat", "concatenate", "hstack"}
MAX_POOLS = {"max_pool1d", "max_pool2d", "adaptive_max_pool2d", "amax"}
MEAN_FUNCTIONS = {"mean", "sum", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"}
NORMS = {"layer_norm"}
POSITIVE = {"sigmoid", "softmax", "abs", "square"}


def is_idle(operation: Operation) -> bool:
    """It returned what it read: a dropout."""
    return set(operation.outputs) <= set(operation.inputs)


def is_neutral(operation: Operation) -> bool:
    """It adds 0 or multiplies by 1, as ``sum([x, y])`` does first."""
    unit = {"add": 0, "sub": 0, "__radd__": 0, "mul": 1, "div": 1, "__rmul__": 1}.get(operation.name)
    others = [value for value in operation.args if not isinstance(value, Tensor)]
    plain = unit is not None and len(operation.inputs) == 1 and isinstance(operation.args[0], Tensor)
    return plain and not operation.options and others == [unit]


def is_vector(shape: Sequence[int]) -> bool:
    """At most one axis is longer than 1: a bias, which goes into thresholds."""
    return sum(size > 1 for size in shape) <= 1


def clip_bounds(operation: Operation) -> tuple[float, float]:
    """The lowest and the highest value of a clip's result."""
    if operation.name in ("relu", "relu_"):
        return 0.0, math.inf
    if operation.name == "relu6":
        return 0.0, 6.0
    names = ("min_val", "max_val") if "hardtanh" in operation.name else ("min", "max")
    given = dict(zip(names, operation.args[1:3], strict=False)) | operation.options
    default = (-1.0, 1.0) if "hardtanh" in operation.name else (-math.inf, math.inf)
    low, high = (given.get(name) for name in names)
    return _number(low, default[0]), _number(high, default[1])


def _number(bound: float | Tensor | None, default: float) -> float:
    return default if bound is None or isinstance(bound, Tensor) else float(bound)
