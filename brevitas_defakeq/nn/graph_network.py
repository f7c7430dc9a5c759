"""A network as a list of steps, and written-out attention in it whose products can be quantized."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from brevitas_defakeq.nn.attention import QUANTIZED_ATTENTION, adopt

Operand = str | float | None


@dataclass(frozen=True)
class GraphStep:
    """One call: the module, what it reads (a value's name, a number, None: its own) and what it makes."""

    module: str
    inputs: tuple[Operand, ...]
    outputs: tuple[str, ...]


class GraphNetwork(nn.Module):
    """Runs its steps in order.

    Args:
        modules: dotted name -> module, in the order of the steps.
        steps: the calls.
        inputs: the names of the arguments; ``outputs``: of the results, a dictionary where there are several.
    """

    def __init__(
        self, modules: Mapping[str, nn.Module], steps: Sequence[GraphStep], inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__()
        self.steps, self.inputs, self.outputs = tuple(steps), tuple(inputs), tuple(outputs)
        for name, module in modules.items():
            _put(self, name, module)
        last = {name: index for index, step in enumerate(steps) for name in step.inputs}
        self.dropped: list[list[str]] = [
            [
                name
                for name in set(step.inputs)
                if isinstance(name, str) and last[name] == index and name not in self.outputs
            ]
            for index, step in enumerate(steps)
        ]

    def forward(self, *inputs: Tensor) -> Tensor | dict[str, Tensor]:
        values = dict(zip(self.inputs, inputs, strict=True))
        for step, dropped in zip(self.steps, self.dropped, strict=True):
            operands = [values[item] if isinstance(item, str) else item for item in step.inputs]
            result = self.call(step, operands)
            made = [result] if isinstance(result, Tensor) else result
            values.update(zip(step.outputs, made, strict=True))
            for name in dropped:
                values.pop(name, None)
        if len(self.outputs) == 1:
            return values[self.outputs[0]]
        return {name: values[name] for name in self.outputs}

    def call(self, step: GraphStep, operands: list) -> Tensor | Sequence[Tensor]:
        """Run one step."""
        result: Tensor | Sequence[Tensor] = self.get_submodule(step.module)(*operands)
        return result


class GraphAttention(GraphNetwork):
    """Written-out attention: ``first`` multiplies q and k, ``last`` the softmax's result and v."""

    def __init__(
        self, modules: Mapping[str, nn.Module], steps: Sequence[GraphStep], inputs: Sequence[str],
        outputs: Sequence[str], first: str, last: str,
    ) -> None:  # fmt: skip
        super().__init__(modules, steps, inputs, outputs)
        self.first, self.last = first, last


class QuantGraphAttention(GraphAttention):
    """Written-out attention with quantized operands; ``from_float`` makes one."""

    @classmethod
    def from_float(cls, module: nn.Module, operands: Mapping[str, dict]) -> "QuantGraphAttention":
        return adopt(module, cls, operands)

    def call(self, step: GraphStep, operands: list) -> Tensor | Sequence[Tensor]:
        quantizers = {self.first: ("q_quant", "k_quant"), self.last: ("softmax_quant", "v_quant")}
        for index, name in enumerate(quantizers.get(step.module, ())):
            operands[index] = self.get_submodule(name)(operands[index])
        return super().call(step, operands)


QUANTIZED_ATTENTION[GraphAttention] = QuantGraphAttention


def _put(parent: nn.Module, name: str, module: nn.Module) -> None:
    """Add a module under a dotted name; the scopes on the way are plain modules."""
    *scopes, own = name.split(".")
    for scope in scopes:
        if scope not in parent._modules:
            parent.add_module(scope, nn.Module())
        parent = parent.get_submodule(scope)
    parent.add_module(own, module)


def scopes_of(name: str) -> Iterator[str]:
    """The dotted names around a name, outermost first.

    >>> list(scopes_of("a.b.c"))
    ['a', 'a.b']
    """
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts)))
