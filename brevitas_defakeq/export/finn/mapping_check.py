"""What each value is, followed from the image to the output, and what cannot be mapped on the way."""

from collections.abc import Callable
from dataclasses import dataclass

from onnx import NodeProto

from brevitas_defakeq.export.finn.findings import Finding
from brevitas_defakeq.export.finn.graph_editor import GraphEditor
from brevitas_defakeq.export.finn.host_io import find_head, image_quantizer
from brevitas_defakeq.export.finn.node_location import layers_above, location_of

#: What puts quantizers where hardware needs them, by the target that a run was made for.
_REMEDY = "quantize with --target fpga"
_REMEDY_OF_FPGA = (
    "let a module that is called once make it: an nn.ReLU for each place, a method's sum in a module"
)


@dataclass(frozen=True)
class ValueState:
    """What a value of the graph is.

    Attributes:
        kind: "integers" of one scale; "sums" of a layer, scaled and moved for each channel; "numbers" that
            only floating point holds; "mean" of a pooling; "function": of an activation function.
        scale: of integers.
        negative: whether integers may lie below 0.
    """

    kind: str
    scale: float = 0.0
    negative: bool = True

    @property
    def is_integers(self) -> bool:
        return self.kind == "integers"


@dataclass
class MappingState:
    """The state of a walk: the graph, what its values are, what was found, what helps in general."""

    graph: GraphEditor
    values: dict[str, ValueState]
    findings: list[Finding]
    remedy: str

    def value_of(self, name: str) -> ValueState:
        return self.values.get(name, ValueState("numbers"))

    def inputs(self, node: NodeProto) -> list[ValueState]:
        """What the node reads that depends on the image."""
        return [self.value_of(name) for name in self.graph.dynamic_inputs(node)]

    def report(self, node: NodeProto, kind: str, problem: str, change: str, extra_bits: int = 0) -> None:
        place = location_of(self.graph, node)
        self.findings.append(Finding(place, node.op_type, kind, problem, change, extra_bits))

    def reject(self, node: NodeProto, problem: str, change: str) -> None:
        self.report(node, "cannot", problem, change)


#: Looks at one node, notes what it finds, and says what the node's result is.
MappingRule = Callable[[MappingState, NodeProto], ValueState]


def find_mapping_problems(
    graph: GraphEditor, rules: dict[str, MappingRule], otherwise: MappingRule, target: str
) -> list[Finding]:
    """Look at every node that depends on the image, in order, up to the head.

    Args:
        graph: with its quantizers moved up to where they will stand.
        rules: operator -> its rule; ``otherwise`` is for all others.
        target: what the run was quantized for.
    """
    remedy = _REMEDY_OF_FPGA if target == "fpga" else _REMEDY
    state = MappingState(graph, {graph.input: ValueState("numbers")}, [], remedy)
    _check_input(state)
    head = find_head(graph)
    behind = set() if head is None else _behind(graph, head)
    for node in graph.nodes:
        if graph.is_static(node.output[0]) or node.output[0] in behind:
            continue
        value = rules.get(node.op_type, otherwise)(state, node)
        state.values.update(dict.fromkeys(node.output, value))
    if head is None:
        _check_output(state)
    return state.findings


def _behind(graph: GraphEditor, head: NodeProto) -> set[str]:
    """Values that the host works out of the head's."""
    found, waiting = set(), [head.output[0]]
    while waiting:
        for consumer in graph.consumers(waiting.pop()):
            found.update(consumer.output)
            waiting += consumer.output
    return found


def _check_input(state: MappingState) -> None:
    graph = state.graph
    if image_quantizer(graph) is not None:
        return
    consumers = {consumer.op_type for consumer in graph.consumers(graph.input)}
    what = "several quantizers" if consumers == {"Quant"} else " and ".join(sorted(consumers)) or "nothing"
    state.findings.append(
        Finding(
            "the image", "Input", "cannot", f"it is read by {what}, where the host hands over integers",
            "let one quantized layer read the image, with activations of 8 bits",
        )
    )  # fmt: skip


def _check_output(state: MappingState) -> None:
    graph = state.graph
    producer = graph.producer(graph.output)
    place = "the output" if producer is None else layers_above(graph, producer)
    operator = "Output" if producer is None else producer.op_type
    state.findings.append(
        Finding(
            place, operator, "cannot", "the logit is not a linear function of one last layer",
            "let the detector return scores before any softmax or sigmoid, of one or two classes",
        )
    )  # fmt: skip
