"""Reads an ONNX file: in float32, checked, with one line for each thing that cannot be taken."""

import logging
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from brevitas_defakeq.detectors.onnx_graph.subgraphs import graphs_of, subgraphs
from brevitas_defakeq.utils.errors import UserError, one_line

_LOG = logging.getLogger(__name__)

#: The operator sets of ONNX that the converter knows.
OLDEST_OPSET, NEWEST_OPSET = 11, 25
#: The domain of ONNX's own operators.
STANDARD = ("", "ai.onnx")
#: The newest version of the file's form that every supported ONNX Runtime reads.
_IR_VERSION = 10
_LARGEST_BYTES = 2**31
_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def read_graph(path: Path) -> ModelProto:
    """The model with its external data, every half- or double-precision number in float32.

    Raises:
        UserError: the file is missing, damaged, too large, or no ONNX of opset 11 to 25.
    """
    model = _parsed(path)
    if not model.graph.node:
        raise UserError(f"{path} holds no graph; it is no ONNX file, or was cut off")
    opset = opset_of(model)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise UserError(
            f"{path} is of ONNX opset {opset}; {OLDEST_OPSET} to {NEWEST_OPSET} can be read: export it again "
            "with such an opset_version, or convert it with onnx.version_converter"
        )
    if model.ir_version > onnx.IR_VERSION:
        _LOG.warning(
            "%s is of IR version %d; the installed onnx knows those up to %d and ignores what is newer", path,
            model.ir_version, onnx.IR_VERSION,
        )  # fmt: skip
    model.ir_version = min(model.ir_version, _IR_VERSION)
    return model


def opset_of(model: ModelProto) -> int:
    """The version of ONNX's own operators."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 0)


def operator_key(node: NodeProto) -> str:
    """What an operator is looked up by: its name, behind its domain if that is not ONNX's own."""
    return node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"


def reason_against(node: NodeProto) -> str:
    """Why a node that no converter is known for cannot be converted."""
    if any(subgraphs(node)):
        what = "condition depends on the image" if node.op_type == "If" else "subgraph cannot be unrolled"
        return f"({node.op_type}) is control flow whose {what}: export the model without it"
    if node.domain not in STANDARD:
        return (
            f"is {node.op_type} of the domain {node.domain}; give the file as it was before a runtime "
            "optimized it"
        )
    return f"is of operator {node.op_type}, which cannot be converted"


def node_name(node: NodeProto) -> str:
    """The node's name, or that of its first output."""
    return node.name or (node.output[0] if node.output else "?")


def initializers(graph: GraphProto, names: Container[str]) -> dict[str, np.ndarray]:
    """Name -> values, of these names; UserError where a tensor's data are missing or damaged."""
    found = {}
    for tensor in graph.initializer:
        if tensor.name not in names:
            continue
        try:
            found[tensor.name] = numpy_helper.to_array(tensor)
        except Exception as error:
            raise UserError(f"tensor {tensor.name} of the ONNX file is damaged ({one_line(error)})") from None
    return found


def to_float32_(model: ModelProto) -> None:
    """Half and double precision become float32: tensors, casts, inputs and outputs."""
    for graph in graphs_of(model.graph):
        for tensor in list(graph.initializer):
            if tensor.data_type in _FLOATS:
                tensor.CopyFrom(_as_float32(tensor))
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t") and attribute.t.data_type in _FLOATS:
                    attribute.t.CopyFrom(_as_float32(attribute.t))
                if attribute.name in ("to", "dtype") and attribute.i in _FLOATS:
                    attribute.i = TensorProto.FLOAT
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in _FLOATS:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        del graph.value_info[:]


def _as_float32(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _parsed(path: Path) -> ModelProto:
    if not path.is_file():
        raise UserError(f"{path} does not exist; give an ONNX file")
    _refuse_large(path, path.stat().st_size)
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise UserError(f"{path} is no ONNX file, or is damaged ({one_line(error)})") from None
    outside = {_location(tensor) for tensor in _tensors(model) if _is_external(tensor)}
    files = [path.parent / name for name in outside]
    for name, file in zip(outside, files, strict=True):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{path} keeps weights in {name}, outside its own folder; export it again")
        if not file.is_file():
            raise UserError(f"{path} keeps its weights in {name}, which is missing; put that file beside it")
    _refuse_large(path, sum(file.stat().st_size for file in files))
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise UserError(
            f"{path}: the weights in {', '.join(outside)} are damaged ({one_line(error)})"
        ) from None
    return model


def _refuse_large(path: Path, size: int) -> None:
    if size >= _LARGEST_BYTES:
        raise UserError(f"{path} holds {size / 2**30:.1f} GB; ONNX files of up to 2 GB can be read")


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for graph in graphs_of(model.graph):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t


def _is_external(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL


def _location(tensor: TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def constant_of(node: NodeProto) -> np.ndarray | None:
    """The value of a Constant node; None for any other."""
    if node.op_type != "Constant":
        return None
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value, np.float32 if attribute.name.startswith("value_float") else np.int64)
