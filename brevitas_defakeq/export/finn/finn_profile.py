"""The FINN profile of a QONNX graph: an integer core, and the host's arithmetic before and after it."""

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
from brevitas_defakeq.export.finn.layer_attributes import (
    densify_groups_,
    double_sums_,
    set_default_attributes_,
    set_split_sizes_,
)
from brevitas_defakeq.export.finn.ones_convolution import shuffle_by_convolution_
from brevitas_defakeq.export.finn.pooling import average_by_convolution_, pool_globally_
from brevitas_defakeq.export.finn.quantizer_hoisting import hoist_quantizers_
from brevitas_defakeq.export.finn.scale_propagation import push_scales_
from brevitas_defakeq.export.finn.weight_quantizers import rewrite_weights_
from brevitas_defakeq.export.finn.wide_channels import split_mixed_layers_
from brevitas_defakeq.export.finn.zero_padding import merge_paddings_, pad_by_convolution_


@dataclass(frozen=True)
class FinnProfile:
    """An integer graph and the host's arithmetic before and after it.

    Attributes:
        model: integers of the image [1, 3, H, W] -> integers of the head.
        input, output: the host's arithmetic.
        unsplit: layers with channels of two widths that are built whole, at the wider one.
        permuted: values whose channels are in another order than in the QONNX graph.
    """

    model: ModelProto
    input: HostInput
    output: HostOutput
    unsplit: list[str] = field(default_factory=list)
    permuted: dict[str, PermutedValue] = field(default_factory=dict)

    def logit(self, integers: np.ndarray) -> float:
        """The logit, computed by the host from the graph's output for one image."""
        return self.output.logit(integers)


@dataclass(frozen=True)
class RewrittenCore:
    """A graph of which everything but the output is rewritten; fields as in ``FinnProfile``."""

    graph: GraphEditor
    input: HostInput
    unsplit: list[str]
    permuted: dict[str, PermutedValue]


def normalize_qonnx(model: ModelProto) -> ModelProto:
    """A copy with constants folded (quantizers of constants stay), shapes inferred and all nodes named."""
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
    """Give a name to nodes that have none or share one."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}.{number}"
        taken.add(node.name)


def finn_profile(qonnx: ModelProto) -> FinnProfile:
    """Rewrite a QONNX graph for FINN without changing its function; values that keep their name stay equal.

    Args:
        qonnx: one image [1, 3, H, W] -> logit, as ``normalize_qonnx`` returns it; not changed.

    Raises:
        UserError: the image is not read by one quantizer alone, or the logit is not linear in one last layer.
    """
    core = rewrite_core(qonnx)
    output = move_logit_arithmetic_to_host_(core.graph)
    return FinnProfile(_finished(core.graph), core.input, output, core.unsplit, core.permuted)


def rewrite_core(qonnx: ModelProto) -> RewrittenCore:
    """All rewrites of the profile except the output. Arguments and errors as of ``finn_profile``."""
    graph = arrange_graph(qonnx)
    pad_by_convolution_(graph)
    shuffle_by_convolution_(graph)
    average_by_convolution_(graph)
    host_input = move_input_quantizer_to_host_(graph)
    rewrite_activations_(graph)
    narrow = rewrite_weights_(graph)
    densify_groups_(graph)
    push_scales_(graph)
    return RewrittenCore(graph, host_input, *split_mixed_layers_(graph, narrow))


def arrange_graph(qonnx: ModelProto) -> GraphEditor:
    """A copy with layers in the forms that FINN lowers and quantizers hoisted to their final position."""
    model = ModelProto()
    model.CopyFrom(qonnx)
    graph = GraphEditor(model)
    set_default_attributes_(graph)
    set_split_sizes_(graph)
    double_sums_(graph)
    pool_globally_(graph)
    fold_quantized_constants_(graph)
    merge_equal_quantizers_(graph)
    hoist_quantizers_(graph)
    merge_equal_quantizers_(graph)
    merge_paddings_(graph)
    return graph


def _finished(graph: GraphEditor) -> ModelProto:
    """The model with nodes sorted, shapes inferred and data types annotated."""
    wrapped = ModelWrapper(graph.model)
    for name, kind in graph.types.items():
        wrapped.set_tensor_datatype(name, DataType[kind])
    for step in (SortGraph(), InferShapes(), RemoveUnusedTensors(), InferDataTypes()):
        wrapped = wrapped.transform(step)
    return wrapped.model
