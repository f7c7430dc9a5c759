"""Follow every value from the image to the output and collect what FINN cannot map."""

from collections.abc import Callable
from dataclasses import dataclass

from onnx import NodeProto

from brevitas_defakeq.export.finn.findings import Finding, FindingKind
from brevitas_defakeq.export.finn.graph_editor import GraphEditor
from brevitas_defakeq.export.finn.host_io import find_head, image_quantizer
from brevitas_defakeq.export.finn.node_location import layers_above, location_of

#: How to get quantizers where hardware needs them, by the target that a run was quantized for.
_REMEDY = "quantize with --target fpga"
_REMEDY_OF_FPGA = (
    "write it without alpha= and assignments into parts of a tensor (x[:, :8] += y), and use what in-place "
    "modules return"
)


@dataclass(frozen=True)
class ValueState:
    """What is known of a value of the graph.

    Attributes:
        kind: "integers" times one scale; "sums" of a layer, with a scale and offset per channel; "numbers"
            that only floating point represents; "mean" of a pooling; "function": result of an activation
            function.
        scale: of "integers".
        negative: whether integers may be below 0.
    """

    kind: str
    scale: float = 0.0
    negative: bool = True

    @property
    def is_integers(self) -> bool:
        return self.kind == "integers"


@dataclass
class MappingState:
    """State of the check: the graph, its values so far, the findings, and the general remedy."""

    graph: GraphEditor
    values: dict[str, ValueState]
    findings: list[Finding]
    remedy: str

    def value_of(self, name: str) -> ValueState:
        return self.values.get(name, ValueState("numbers"))

    def inputs(self, node: NodeProto) -> list[ValueState]:
        """The node's inputs that depend on the image."""
        return [self.value_of(name) for name in self.graph.dynamic_inputs(node)]

    def report(
        self, node: NodeProto, kind: FindingKind, problem: str, change: str, extra_bits: int = 0
    ) -> None:
        """Add a finding; ``kind`` as in `Finding`."""
        location = location_of(self.graph, node)
        self.findings.append(Finding(location, node.op_type, kind, problem, change, extra_bits))

    def reject(self, node: NodeProto, problem: str, change: str) -> None:
        """Add a finding that prevents the mapping."""
        self.report(node, "cannot", problem, change)


#: Examines one node, reports what it finds, and returns the state of the node's outputs.
MappingRule = Callable[[MappingState, NodeProto], ValueState]


def find_mapping_problems(
    graph: GraphEditor, rules: dict[str, MappingRule], otherwise: MappingRule, target: str
) -> list[Finding]:
    """Apply the rules to every node that depends on the image, in order, up to the head.

    Args:
        graph: with quantizers hoisted (``arrange_graph``).
        rules: operator -> rule.
        otherwise: rule of all other operators.
        target: the target that the run was quantized for.
    """
    remedy = _REMEDY_OF_FPGA if target == "fpga" else _REMEDY
    state = MappingState(graph, {graph.input: ValueState("numbers")}, [], remedy)
    _check_input(state)
    head = find_head(graph)
    on_host = set() if head is None else _values_after(graph, head)
    for node in graph.nodes:
        if graph.is_static(node.output[0]) or node.output[0] in on_host:
            continue
        value = rules.get(node.op_type, otherwise)(state, node)
        state.values.update(dict.fromkeys(node.output, value))
    if head is None:
        _check_output(state)
    return state.findings


def _values_after(graph: GraphEditor, head: NodeProto) -> set[str]:
    """Values computed from the head's output; the host computes them."""
    found: set[str] = set()
    waiting = [head.output[0]]
    while waiting:
        for consumer in graph.consumers(waiting.pop()):
            found.update(consumer.output)
            waiting += consumer.output
    return found


def _check_input(state: MappingState) -> None:
    graph = state.graph
    if image_quantizer(graph) is not None:
        return
    operators = {consumer.op_type for consumer in graph.consumers(graph.input)}
    what = "several quantizers" if operators == {"Quant"} else " and ".join(sorted(operators)) or "nothing"
    state.findings.append(
        Finding(
            "the image", "Input", "cannot", f"it is read by {what}, but the host passes integers",
            "let one quantized layer read the image, with activations of 8 bits",
        )
    )  # fmt: skip


def _check_output(state: MappingState) -> None:
    graph = state.graph
    producer = graph.producer(graph.output)
    location = "the output" if producer is None else layers_above(graph, producer)
    operator = "Output" if producer is None else producer.op_type
    state.findings.append(
        Finding(
            location, operator, "cannot", "the logit is not a linear function of one last layer",
            "let the detector return scores before any softmax or sigmoid, for one or two classes",
        )
    )  # fmt: skip
