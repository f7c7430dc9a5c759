"""A converted graph as data: steps that are JSON, and tensors beside them.

A run folder keeps the program alone; its weights come from the folder's own files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.onnx_graph.step_modules import build_module
from brevitas_defakeq.nn.graph_network import GraphAttention, GraphNetwork, GraphStep, Operand

#: Kinds of steps that hold steps.
_GRAPHS = {"graph": GraphNetwork, "attention": GraphAttention}


@dataclass
class Step:
    """One module and its call.

    Attributes:
        name: dotted, unique in the program; within a group relative to the group.
        kind: a key of ``step_modules``, or "graph" or "attention" for a group of steps.
        inputs: values by name, numbers, or None where the module has a constant of its own.
        options: what the module is built from, as JSON.
        tensors: its state; not part of the JSON.
        steps: of a group.
    """

    name: str
    kind: str
    inputs: list[Operand]
    outputs: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    @property
    def values(self) -> list[str]:
        """The names of the values it reads."""
        return [item for item in self.inputs if isinstance(item, str)]

    def to_json(self) -> list[Any]:
        """A compact list; ``from_json`` reads it."""
        content = [self.name, self.kind, self.inputs, self.outputs, self.options]
        return [*content, [step.to_json() for step in self.steps]] if self.steps else content

    @classmethod
    def from_json(cls, content: list[Any]) -> Step:
        name, kind, inputs, outputs, options, *rest = content
        return cls(
            name, kind, inputs, outputs, options, {}, [cls.from_json(step) for step in (rest or [[]])[0]]
        )

    def module(self) -> nn.Module:
        """The module, with its tensors if it has them."""
        if self.kind in _GRAPHS:
            return _network(_GRAPHS[self.kind], self.steps, self.values, self.outputs, **self.options)
        with torch.device("meta"):
            module = build_module(self.kind, self.options)
        module = module.to_empty(device="cpu").eval()
        for name, tensor in module.state_dict().items():
            given = self.tensors.get(name)
            tensor.zero_() if given is None else tensor.copy_(given)
        return module.requires_grad_(False)


def readers_by_value(steps: Sequence[Step]) -> dict[str, list[Step]]:
    """Value -> the steps that read it, once for each time."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.values:
            found.setdefault(name, []).append(step)
    return found


def apart_from(names: Sequence[str], name: str) -> str:
    """The name, or it with a number: none of ``names``, and neither inside of one nor around one.

    >>> apart_from(["attention.query"], "attention")
    'attention_1'
    """
    count, found = 0, name
    while any(
        other == found or other.startswith(f"{found}.") or found.startswith(f"{other}.") for other in names
    ):
        count += 1
        found = f"{name}_{count}"
    return found


@dataclass
class Program:
    """The steps of a whole network, with the names of its input and its outputs."""

    steps: list[Step]
    inputs: list[str]
    outputs: list[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": [step.to_json() for step in self.steps], "inputs": self.inputs, "outputs": self.outputs
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Program:
        return cls([Step.from_json(step) for step in content["steps"]], content["inputs"], content["outputs"])

    def network(self) -> GraphNetwork:
        """The network, in evaluation mode; its parameters take gradients."""
        network = _network(GraphNetwork, self.steps, self.inputs, self.outputs)
        for parameter in network.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return network.eval()


def _network(
    cls: type[GraphNetwork], steps: Sequence[Step], inputs: Sequence[str], outputs: Sequence[str],
    **options: Any,
) -> GraphNetwork:  # fmt: skip
    modules = {step.name: step.module() for step in steps}
    calls = [GraphStep(step.name, tuple(step.inputs), tuple(step.outputs)) for step in steps]
    return cls(modules, calls, tuple(dict.fromkeys(inputs)), outputs, **options)
