"""Quantized constants that are no weights, a class token or positions, as the values they stand for."""

import numpy as np

from brevitas_defakeq.export.finn.graph_editor import Graph, drop_unread_
from brevitas_defakeq.export.finn.quant_node import Quantizer
from brevitas_defakeq.export.finn.weight_quantizers import weight_input


def fold_quantized_constants_(graph: Graph) -> None:
    """FINN takes a quantizer of a constant for that of a layer's weights: all others are worked out."""
    for quant in graph.nodes:
        if quant.op_type != "Quant" or not graph.is_constant(quant.input[0]):
            continue
        others = [
            reader
            for reader in graph.readers(quant.output[0])
            if weight_input(graph, reader) != quant.output[0] and not graph.is_fixed(reader.output[0])
        ]
        if others:
            grid = Quantizer.of(graph, quant)
            values = (grid.integers(graph.constants[quant.input[0]]) * grid.scale).astype(np.float32)
            folded = graph.constant(values, f"{quant.output[0]}.folded")
            graph.read_instead(quant.output[0], folded, others)
    drop_unread_(graph)
