"""Activation quantizers with zero point 0 that include the activation functions before them.

A quantizer without zero point stays a ``Quant``, and a ReLU or clip before it is dropped if the grid's range
implies it. Every other one becomes a ``MultiThreshold`` with output ``code - zero_point`` (``out_bias`` is
the smallest of them) and a multiplication by the scale, with the same float32 values.
"""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import find_thresholds, functions_before, step_function
from brevitas_defakeq.export.finn.graph_editor import GraphEditor, make_node, remove_unused_nodes_
from brevitas_defakeq.export.finn.quant_node import QuantGrid, is_activation, quant_node, type_name


def merge_equal_quantizers_(graph: GraphEditor) -> None:
    """Merge equal per-tensor quantizers of the same value."""
    for quant in graph.nodes:
        if not is_activation(graph, quant):
            continue
        own = QuantGrid.from_node(graph, quant)
        first = next(
            other
            for other in graph.consumers(quant.input[0])
            if is_activation(graph, other) and own.equals(QuantGrid.from_node(graph, other))
        ) if own.is_per_tensor else quant  # fmt: skip
        if first is not quant:
            graph.redirect(quant.output[0], first.output[0])
            graph.remove(quant)


def rewrite_activations_(graph: GraphEditor) -> None:
    """Rewrite every activation quantizer without zero point, together with the functions before it."""
    for quant in graph.nodes:
        if is_activation(graph, quant):
            _rewrite_(graph, quant)
    remove_unused_nodes_(graph)


def _rewrite_(graph: GraphEditor, quant: NodeProto) -> None:
    quantizer = QuantGrid.from_node(graph, quant)
    chain = functions_before(graph, quant.input[0])
    source = chain[0].input[0] if chain else quant.input[0]
    plain = _plain_quantizer(graph, quantizer, chain)
    if plain is not None:
        new = [quant_node(graph, source, quant.output[0], quant.name, scale=quantizer.scale, **plain)]
    else:
        steps = threshold_node(graph, quant, source, *find_thresholds(step_function(graph, chain, quantizer)))
        scale = graph.add_constant(quantizer.scale.reshape(()), f"{quant.name}.scale")
        new = [steps, make_node("Mul", [steps.output[0], scale], quant.output[0], f"{quant.name}.scaled")]
    graph.insert_before(quant, *new)
    graph.remove(quant)


def _plain_quantizer(graph: GraphEditor, quantizer: QuantGrid, chain: list[NodeProto]) -> dict | None:
    """``quant_node`` arguments of one ``Quant`` that equals the chain and the quantizer, or None."""
    if quantizer.zero_point.any():
        return None
    low, high = quantizer.min_integer, quantizer.max_integer
    for function in chain:
        if function.op_type not in ("Relu", "Clip"):
            return None
        floor, ceiling = _clip_range(graph, function)
        scale = float(quantizer.scale.item())
        if floor == 0.0:
            low = max(low, 0)  # a signed grid after a ReLU is an unsigned one with one bit less
        if not (floor <= low * scale and ceiling >= high * scale):
            return None
    bits = int(quantizer.bits.item())
    if low < 0:
        return {"bits": bits, "signed": True, "narrow": quantizer.narrow}
    if quantizer.signed:
        bits -= 1
    # FINN interprets a single bit as -1 and 1.
    return {"bits": bits, "signed": False} if bits > 1 and high == 2**bits - 1 else None


def _clip_range(graph: GraphEditor, function: NodeProto) -> tuple[float, float]:
    """Lower and upper bound of a ``Relu`` or ``Clip``."""
    if function.op_type == "Relu":
        return 0.0, np.inf
    bounds = [graph.constants.get(name) for name in (*function.input[1:], "", "")[:2]]
    return (
        -np.inf if bounds[0] is None else float(bounds[0].item()),
        np.inf if bounds[1] is None else float(bounds[1].item()),
    )


def threshold_node(
    graph: GraphEditor, quant: NodeProto, source: str, thresholds: np.ndarray, first: int
) -> NodeProto:
    """A ``MultiThreshold`` with the same thresholds in every channel.

    Args:
        source: the value it reads.
        thresholds: float32 [n], ascending.
        first: the integer below all thresholds; each threshold reached adds 1.
    """
    matrix = graph.add_constant(thresholds[None], f"{quant.name}.thresholds")  # [1, n]
    integers = graph.new_name(f"{quant.output[0]}.integers", graph.shapes[source])
    return make_node(
        "MultiThreshold", [source, matrix], integers, f"{quant.name}.thresholds", out_scale=1.0,
        out_bias=float(first), out_dtype=type_name(first, first + len(thresholds)),
        data_layout=_layout(graph, source),
    )  # fmt: skip


def _layout(graph: GraphEditor, name: str) -> str:
    """FINN's name of the axis order: channels second in maps, last in other values of rank 4."""
    rank = len(graph.shapes[name])
    if rank != 4:
        return {2: "NC", 3: "NWC"}.get(rank, "")
    producer = graph.producer(name)
    while producer is not None and producer.op_type not in ("Conv", "Reshape", "Transpose", "MatMul"):
        producer = graph.producer(graph.dynamic_inputs(producer)[0])
    return "NCHW" if producer is None or producer.op_type == "Conv" else "NHWC"
