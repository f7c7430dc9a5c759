"""The FINN profile of a QONNX graph: an integer core, and what the host does before and behind it."""

from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.general import (
    GiveUniqueParameterTensors,
    RemoveStaticGraphInputs,
    RemoveUnusedTensors,
    SortGraph,
)
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.transformation.quant_constant_folding import FoldTransposeIntoQuantInit
from qonnx.transformation.remove import RemoveIdentityOps

from brevitas_defakeq.export.finn.activation_quantizers import merge_equal_quantizers_, rewrite_activations_
from brevitas_defakeq.export.finn.channel_permutation import PermutedValue
from brevitas_defakeq.export.finn.constant_folding import fold_quantized_constants_
from brevitas_defakeq.export.finn.graph_editor import GraphEditor
from brevitas_defakeq.export.finn.host_io import (
    HostInput,
    HostOutput,
    move_input_quantizer_to_host_,
    move_logit_arithmetic_to_host_,
)
from brevitas_defakeq.export.finn.layer_attributes import densify_groups_, set_default_attributes_
from brevitas_defakeq.export.finn.pooling import average_by_convolution_, pool_globally_
from brevitas_defakeq.export.finn.quantizer_hoisting import hoist_quantizers_
from brevitas_defakeq.export.finn.scale_propagation import push_scales_
from brevitas_defakeq.export.finn.weight_quantizers import rewrite_weights_
from brevitas_defakeq.export.finn.wide_channels import split_mixed_layers_
from brevitas_defakeq.export.finn.zero_padding import merge_paddings_, pad_by_convolution_


@dataclass(frozen=True)
class FinnProfile:
    """An integer graph with its two ends.

    Attributes:
        model: integers of the image [1, 3, H, W] -> integers of the head.
        input, output: what the host does.
        whole: layers with channels of two widths that stay in one piece, at the wide one.
        sorted: values whose channels stand in another order than in the QONNX graph.
    """

    model: ModelProto
    input: HostInput
    output: HostOutput
    whole: list[str] = field(default_factory=list)
    sorted: dict[str, PermutedValue] = field(default_factory=dict)

    def logit(self, integers: np.ndarray) -> float:
        """What the host makes of the graph's output."""
        return self.output.logit(integers)


def normalize_qonnx(model: ModelProto) -> ModelProto:
    """A copy with constants folded (quantizers of constants stay) and all shapes known; names stay."""
    copy = ModelProto()
    copy.CopyFrom(model)
    wrapped = ModelWrapper(copy)
    for step in (
        InferShapes(), GiveUniqueParameterTensors(), FoldConstants(), FoldTransposeIntoQuantInit(),
        RemoveIdentityOps(atol=0), RemoveUnusedTensors(), RemoveStaticGraphInputs(), InferShapes(),
    ):  # fmt: skip
        wrapped = wrapped.transform(step)
    _name_nodes_(wrapped.model)
    return wrapped.model


def _name_nodes_(model: ModelProto) -> None:
    """Nodes without a name, or with another's, get one."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}.{number}"
        taken.add(node.name)


def finn_profile(qonnx: ModelProto) -> FinnProfile:
    """Rewrite a faithful QONNX graph for FINN, exactly; values that keep their name keep their numbers.

    Args:
        qonnx: one image [1, 3, H, W] -> logit, ``normalize_qonnx``; it is left as it is.

    Raises:
        UserError: the ends of the network are not the host's to take.
    """
    graph, host_input, whole, moved = rewrite_core(qonnx)
    host_output = move_logit_arithmetic_to_host_(graph)
    return FinnProfile(_finished(graph), host_input, host_output, whole, moved)


def rewrite_core(qonnx: ModelProto) -> tuple[GraphEditor, HostInput, list[str], dict[str, PermutedValue]]:
    """All of the profile but its output; the other results as ``FinnProfile`` has them."""
    graph = arrange_graph(qonnx)
    pad_by_convolution_(graph)
    average_by_convolution_(graph)
    host_input = move_input_quantizer_to_host_(graph)
    rewrite_activations_(graph)
    narrow = rewrite_weights_(graph)
    densify_groups_(graph)
    push_scales_(graph)
    return graph, host_input, *split_mixed_layers_(graph, narrow)


def arrange_graph(qonnx: ModelProto) -> GraphEditor:
    """A copy in which layers have FINN's forms and quantizers stand where they will."""
    model = ModelProto()
    model.CopyFrom(qonnx)
    graph = GraphEditor(model)
    set_default_attributes_(graph)
    pool_globally_(graph)
    fold_quantized_constants_(graph)
    merge_equal_quantizers_(graph)
    hoist_quantizers_(graph)
    merge_equal_quantizers_(graph)
    merge_paddings_(graph)
    return graph


def _finished(graph: GraphEditor) -> ModelProto:
    """Order, shapes and datatypes as FINN reads them."""
    wrapped = ModelWrapper(graph.model)
    for name, kind in graph.types.items():
        wrapped.set_tensor_datatype(name, DataType[kind])
    for step in (SortGraph(), InferShapes(), RemoveUnusedTensors(), InferDataTypes()):
        wrapped = wrapped.transform(step)
    return wrapped.model
