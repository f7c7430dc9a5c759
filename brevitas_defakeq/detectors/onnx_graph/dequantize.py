"""Files that are quantized already."""

from pathlib import Path

from onnx import ModelProto

from brevitas_defakeq.detectors.onnx_graph.graph_file import quantized_operators
from brevitas_defakeq.utils.errors import UserError


def require_float_(model: ModelProto, path: Path, *, from_quantized: bool) -> None:
    found = quantized_operators(model)
    if found:
        raise UserError(f"{path} is quantized already")
