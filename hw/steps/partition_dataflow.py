"""Step "partition": the dataflow graph for the device, which must be the whole graph."""

from pathlib import Path

from finn.transformation.fpgadataflow.create_dataflow_partition import CreateDataflowPartition
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from brevitas_defakeq.utils.errors import UserError
from hw.steps.fixpoint import refresh_names_and_types
from hw.unmapped_nodes import unmapped_reasons


def partition_dataflow(model: ModelWrapper, folder: Path) -> ModelWrapper:
    """The dataflow graph that FINN extracts; FINN writes it and its parent graph to ``folder``.

    Raises UserError where a node has no hardware layer.
    """
    lacking = unmapped_reasons(model)
    if lacking:
        total = len(model.graph.node)
        raise UserError(f"{len(lacking)} of {total} nodes have no hardware layer: {'; '.join(lacking)}")
    parent = model.transform(CreateDataflowPartition(partition_model_dir=str(folder)))
    parent.save(str(folder / "parent.onnx"))
    (only,) = parent.get_nodes_by_op_type("StreamingDataflowPartition")
    return refresh_names_and_types(ModelWrapper(getCustomOp(only).get_nodeattr("model")))
