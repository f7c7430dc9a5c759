"""LayerNorms that linear layers alone read: their channels can be scaled and shifted freely."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from torch import nn

from brevitas_defakeq.nn.module_tree import modules_by_name
from brevitas_defakeq.prepare.operations import DATA_MOVEMENT, is_idle
from brevitas_defakeq.prepare.trace import Call, Operation, TensorVersion, Trace, tensors_in


@dataclass(frozen=True)
class NormReaders:
    """What a trace tells.

    Attributes:
        layers: norm -> the linear layers that read it, where nothing else does.
        left_alone: norm that has to stay as it is -> why.
    """

    layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)


def find_norm_readers(model: nn.Module, traced: Trace, layers: Collection[str], head: str) -> NormReaders:
    """Every ``nn.LayerNorm`` that ran, with those of the quantized ``layers`` that read it.

    Args:
        head: the last layer; what it reads is the detector's feature, which stays as it is.
    """
    modules, found = modules_by_name(model), NormReaders()
    linear = {name for name in layers if isinstance(modules[name], nn.Linear)}
    reading = _operations_by_input(traced)
    for name in traced.calls:
        norm = modules[name]
        if not isinstance(norm, nn.LayerNorm):
            continue
        outputs = [value for value, makers in traced.makers.items() if name in makers]
        readers, others = _readers(outputs, reading, linear)
        reason = _why_unsuited(norm, traced.calls[name])
        reason = reason or _why_read_otherwise(readers, others, outputs, traced, head)
        widths = {modules[reader].in_features for reader in readers}
        if reason or widths != {norm.weight.numel()}:
            found.left_alone[name] = reason or "a linear layer reads it along another axis"
        else:
            found.layers[name] = tuple(readers)
    return found


def _operations_by_input(traced: Trace) -> Mapping[TensorVersion, Sequence[Operation]]:
    found: dict[TensorVersion, list[Operation]] = {}
    for operation in traced.operations:
        for value in dict.fromkeys(operation.inputs):
            found.setdefault(value, []).append(operation)
    return found


def _readers(
    outputs: Sequence[TensorVersion], reading: Mapping[TensorVersion, Sequence[Operation]], linear: set[str]
) -> tuple[dict[str, set[TensorVersion]], list[str]]:
    """Linear layer -> what it reads of a norm, as it is or moved; and what else reads it, in words."""
    readers: dict[str, set[TensorVersion]] = {}
    others: list[str] = []
    ahead = list(outputs)
    followed = set(ahead)
    while ahead:
        value = ahead.pop()
        for operation in reading.get(value, ()):
            if operation.owner in linear:
                readers.setdefault(operation.owner, set()).add(value)
            elif _keeps_channels(operation):
                ahead += [made for made in operation.outputs if made not in followed]
                followed.update(operation.outputs)
            elif not is_idle(operation):
                others.append(f"{operation.name} in {operation.owner}" if operation.owner else operation.name)
    return readers, others


def _keeps_channels(operation: Operation) -> bool:
    """Whether it keeps a channel's values and adds none; the zeros of a padding are not shifted."""
    if operation.name == "pad":
        return not any(chain(*operation.args[1:2], operation.options.get("pad", ())))
    return operation.name in DATA_MOVEMENT


def _why_unsuited(norm: nn.LayerNorm, calls: Sequence[Call]) -> str:
    """Why a norm has nothing of its own to scale and shift the last axis by; "" where it has."""
    if norm.weight is None or norm.bias is None or norm.weight.dim() != 1:
        return "it has no weight and bias for each channel"
    if any(call.tensor().shape[-1] != len(norm.weight) for call in calls):
        return "its channels are not the last axis"
    return ""


def _why_read_otherwise(
    readers: Mapping[str, set[TensorVersion]],
    others: Sequence[str],
    outputs: Sequence[TensorVersion],
    traced: Trace,
    head: str,
) -> str:
    """Why more than some linear layers depends on a norm's outputs; "" where nothing does."""
    if others:
        return f"{others[0]} reads it too" if readers else f"{others[0]} reads it"
    returned = {id(tensor) for tensor in tensors_in(traced.output)}
    if any(output in returned for output, _ in outputs):
        return "the network returns it"
    if not readers:
        return "no quantized linear layer reads it"
    if head in readers:
        return f"{head} reads it: it is the detector's feature"
    mixed = (name for name, values in readers.items() if not set(traced.entered[name]) <= values)
    return next((f"{name} reads something else too" for name in mixed), "")
