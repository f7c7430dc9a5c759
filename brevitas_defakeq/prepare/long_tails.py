"""Which layers read what a softmax or a GELU made: many small values and a long tail of large ones.

A GELU is known by its values, not by a name: networks write it as one function, in its parts (``erf``,
``tanh``), or as ``x sigmoid(1.702 x)``.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from brevitas_defakeq.prepare.operations import DATA_MOVEMENT, is_idle
from brevitas_defakeq.prepare.trace import Operation, TensorVersion, Trace, tensors_in

_GELUS: tuple[Callable[[Tensor], Tensor], ...] = (
    F.gelu,
    lambda x: F.gelu(x, approximate="tanh"),
    lambda x: x * torch.sigmoid(1.702 * x),
)
#: Below the least value of each (-0.170, -0.170, -0.164).
_LEAST_GELU = -0.171


def long_tailed_inputs(traced: Trace, linear: Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    """Those of the layers ``linear`` whose every input comes from a softmax or a GELU, as it is or moved.

    Args:
        layers: all layers; behind their results nothing is looked for.
    """
    sources = _Sources(traced, layers)
    return tuple(name for name in linear if all(map(sources.is_long_tailed, traced.entered[name])))


class _Sources:
    """What made each value of a trace."""

    def __init__(self, traced: Trace, layers: Sequence[str]) -> None:
        self.layers = set(layers)
        self.makers: dict[TensorVersion, Operation] = {}
        self.tensors: dict[TensorVersion, Tensor] = {}
        for operation in traced.operations:
            read = tensors_in((operation.args, operation.options))
            self.tensors.update(zip(operation.inputs, read, strict=True))
            if not is_idle(operation):
                self.makers.update(dict.fromkeys(operation.outputs, operation))

    def is_long_tailed(self, key: TensorVersion) -> bool:
        while key in self.makers and self.makers[key].name in DATA_MOVEMENT:
            key = self.makers[key].inputs[0]
        if key not in self.makers:
            return False
        if self.makers[key].name == "softmax":
            return True
        value = self.tensors[key]
        return bool(value.amin() >= _LEAST_GELU) and any(
            _equal(value, gelu, self.tensors[source]) for source in self._before(key) for gelu in _GELUS
        )

    def _before(self, key: TensorVersion) -> Iterator[TensorVersion]:
        """The values that a value was computed of, back to the layers."""
        found, ahead = set[TensorVersion](), [key]
        while ahead:
            maker = self.makers.get(ahead.pop())
            if maker is not None and maker.owner not in self.layers:
                new = [source for source in maker.inputs if source not in found]
                found.update(new)
                ahead += new
                yield from new


def _equal(value: Tensor, function: Callable[[Tensor], Tensor], source: Tensor) -> bool:
    if source.shape != value.shape or not source.is_floating_point():
        return False
    return torch.allclose(function(source), value, rtol=1e-4, atol=1e-5) and not torch.equal(source, value)
