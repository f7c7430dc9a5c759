"""Functions in a file, and operators that ONNX itself defines by others, as the nodes they stand for."""

from collections.abc import Collection
from pathlib import Path

import onnx
from onnx import ModelProto, inliner

from brevitas_defakeq.detectors.onnx_graph.graph_file import STANDARD, opset_of
from brevitas_defakeq.detectors.onnx_graph.subgraphs import graphs_of
from brevitas_defakeq.utils.errors import UserError, one_line

#: Defined by a loop, though its value is a constant.
_LOOPS = ("Range",)


def inline_functions(model: ModelProto, path: Path) -> ModelProto:
    """The model with the functions that it holds written out.

    Raises:
        UserError: onnx cannot write them out.
    """
    if not model.functions:
        return model
    try:
        return inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # of onnx's own library, of any kind
        raise UserError(f"{path}: its functions cannot be written out ({one_line(error)})") from None


def write_out_operators(model: ModelProto, known: Collection[str]) -> ModelProto:
    """The model with operators that are not ``known``, but that ONNX defines by others, written out."""
    nodes = [node for graph in graphs_of(model.graph) for node in graph.node if node.domain in STANDARD]
    names = {node.op_type for node in nodes} - {*known, *_LOOPS}
    wanted = [name for name in sorted(names) if _has_definition(name, opset_of(model))]
    if not wanted:
        return model
    try:
        return inliner.inline_selected_functions(
            model, [("", name) for name in wanted], inline_schema_functions=True
        )
    except Exception:  # of onnx's own library; the operator is refused by its name
        return model


def _has_definition(name: str, opset: int) -> bool:
    try:
        schema = onnx.defs.get_schema(name, opset, "")
    except onnx.defs.SchemaError:
        return False
    return bool(
        getattr(schema, "has_function", False) or getattr(schema, "has_context_dependent_function", False)
    )
