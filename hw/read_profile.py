"""Reading a FINN profile, with an error that names what another file is."""

from pathlib import Path

import onnx
from qonnx.core.modelwrapper import ModelWrapper

from brevitas_defakeq.utils.errors import UserError

_MAKE = "create the profile with `defakeq export RUN --format finn`"


def read_profile(path: Path) -> ModelWrapper:
    """The profile: integers [1, 3, H, W] in, all zero points 0, all shapes known.

    Raises UserError, which names what the file is, for anything else.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; {_MAKE}")
    try:
        model = onnx.load(str(path))
    except Exception:  # protobuf's DecodeError and others, by its version
        raise UserError(f"{path} is not an ONNX file; {_MAKE}") from None
    what = _other_kind(model)
    if what:
        raise UserError(f"{path} is {what}, not a FINN profile; {_MAKE}")
    return ModelWrapper(model)


def _other_kind(model: onnx.ModelProto) -> str:
    """What a file is if it is not a profile; empty for a profile."""
    kinds = {node.op_type for node in model.graph.node}
    domains = {node.domain for node in model.graph.node}
    if not kinds:
        return "an empty graph"
    if any(domain.startswith("finn.custom_op.fpgadataflow") for domain in domains):
        return "a graph of FINN's hardware layers"
    if kinds & {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "MatMulInteger", "ConvInteger"}:
        return "a network quantized for ONNX Runtime"
    if not kinds & {"Quant", "IntQuant", "MultiThreshold"}:
        return "a floating-point network"
    return _qonnx_kind(ModelWrapper(model))


def _qonnx_kind(wrapped: ModelWrapper) -> str:
    inputs, outputs = wrapped.graph.input, wrapped.graph.output
    constants = {each.name for each in wrapped.graph.initializer}
    inputs = [each for each in inputs if each.name not in constants]
    if len(inputs) != 1 or len(outputs) != 1:
        return f"QONNX with {len(inputs)} inputs and {len(outputs)} outputs"
    shape = wrapped.get_tensor_shape(inputs[0].name)
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        return f"QONNX with the input shape {shape} instead of [1, 3, height, width]"
    for node in wrapped.graph.node:
        if node.op_type in ("Quant", "IntQuant"):
            zero_point = wrapped.get_initializer(node.input[2])
            if zero_point is None or zero_point.any():
                return "QONNX with zero points"
    if not wrapped.get_tensor_datatype(inputs[0].name).is_integer():
        return "QONNX with a floating-point input"
    return ""
