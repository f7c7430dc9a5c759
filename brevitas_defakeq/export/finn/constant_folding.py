"""Folding of quantized constants that are not weights, such as a class token or position embeddings."""

import numpy as np

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, remove_unused_nodes_
from brevitas_defakeq.export.finn.quant_node import QuantGrid
from brevitas_defakeq.export.finn.weight_quantizers import weight_input


def fold_quantized_constants_(graph: GraphEditor) -> None:
    """Replace quantized constants by their values unless a layer reads them as weights.

    FINN treats every quantizer of a constant as one of weights.
    """
    for quant in graph.nodes:
        if quant.op_type != "Quant" or not graph.is_constant(quant.input[0]):
            continue
        others = [
            consumer
            for consumer in graph.consumers(quant.output[0])
            if weight_input(graph, consumer) != quant.output[0] and not graph.is_static(consumer.output[0])
        ]
        if others:
            grid = QuantGrid.from_node(graph, quant)
            values = (grid.integers(graph.constants[quant.input[0]]) * grid.scale).astype(np.float32)
            folded = graph.add_constant(values, f"{quant.output[0]}.folded")
            graph.redirect(quant.output[0], folded, others)
    remove_unused_nodes_(graph)
