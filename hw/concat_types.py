"""The integer types of concatenations and of their parts.

qonnx takes the type of a concatenation from its first operand alone: where that is unsigned and another one
is signed, thresholds behind the concatenation would lose every negative value. Parts of a Split get none.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from onnx import NodeProto
    from qonnx.core.datatype import BaseDataType
    from qonnx.core.modelwrapper import ModelWrapper


@contextlib.contextmanager
def concat_types() -> Iterator[None]:
    """Within the context qonnx gives a concatenation the smallest type that holds all its operands.

    The parts of a Split have the type of the whole.
    """
    from qonnx.transformation import infer_datatypes

    of_others = infer_datatypes._infer_node_datatype

    def inferred(model: "ModelWrapper", node: "NodeProto", *arguments: Any, **options: Any) -> bool:
        if node.op_type not in ("Concat", "Split") or node.domain:
            return of_others(model, node, *arguments, **options)
        kind = (
            _common_type(model, node)
            if node.op_type == "Concat"
            else model.get_tensor_datatype(node.input[0])
        )
        changed = [name for name in node.output if model.get_tensor_datatype(name) != kind]
        for name in changed:
            model.set_tensor_datatype(name, kind)
        return bool(changed)

    with patch.object(infer_datatypes, "_infer_node_datatype", inferred):
        yield


def _common_type(model: "ModelWrapper", node: "NodeProto") -> "BaseDataType":
    from qonnx.core.datatype import DataType

    kinds = [model.get_tensor_datatype(name) for name in node.input]
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    if not all(kind.is_integer() for kind in kinds):
        return DataType["FLOAT32"]
    low, high = min(int(kind.min()) for kind in kinds), max(int(kind.max()) for kind in kinds)
    bits = max(high.bit_length(), (-low - 1).bit_length() if low else 0)
    return DataType[f"INT{bits + 1}" if low else f"UINT{bits}"]
