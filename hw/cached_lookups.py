"""Cached look-ups for qonnx, which otherwise scans lists from the front for every tensor.

Every cached index is validated before it is used, so that a changed graph costs one scan. The cleanup after
each pass sorts and copies only where there is something to sort or copy. Results are the same as qonnx's.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

#: Lists up to this length are scanned.
_SCAN_LENGTH = 16
_NUMPY_VECTORIZE = np.vectorize
#: (list, name) -> index in the list.
_indices: dict[tuple[str, str], int] = {}


@contextlib.contextmanager
def cached_lookups() -> Iterator[None]:
    """Within the context `ModelWrapper` finds shapes, types, constants and producers by cached indices."""
    from qonnx.core.modelwrapper import ModelWrapper

    methods: dict[str, Any] = {
        "get_tensor_valueinfo": _valueinfo, "get_tensor_shape": _shape, "get_initializer": _initializer,
        "find_producer": _producer, "cleanup": _cleanup,
    }  # fmt: skip
    with (
        patch.multiple(ModelWrapper, **methods),
        patch("qonnx.util.basic.get_by_name", _by_name),
        patch("numpy.vectorize", _vectorize),
    ):
        try:
            yield
        finally:
            _indices.clear()


def _vectorize(*arguments: Any, **settings: Any) -> Any:
    """numpy.vectorize, except of qonnx's `allowed`, which accepts arrays: it gets millions of thresholds."""
    if len(arguments) == 1 and not settings and getattr(arguments[0], "__name__", "") == "allowed":
        return arguments[0]
    return _NUMPY_VECTORIZE(*arguments, **settings)


def _by_name(container: Sequence, name: str, name_field: str = "name") -> Any:
    return _find(container, name, name_field, name_field)


def _cached(container: Sequence, name: str, field: str, kind: str) -> Any:
    """The element of a protobuf list at the cached index of ``name``, if it is still there; else None."""
    index = _indices.get((kind, name))
    if index is not None and index < len(container) and getattr(container[index], field) == name:
        return container[index]
    return None


def _find(container: Sequence, name: str, field: str, kind: str) -> Any:
    """The element of a protobuf list whose ``field`` is ``name``, or None; ONNX names are unique."""
    if len(container) <= _SCAN_LENGTH:
        return next((element for element in container if getattr(element, field) == name), None)
    found = _cached(container, name, field, kind)
    if found is None:
        _indices.update({(kind, getattr(element, field)): index for index, element in enumerate(container)})
        found = _cached(container, name, field, kind)
    return found


def _constant(self: "ModelWrapper", tensor_name: str) -> TensorProto | None:
    if _cached_producer(self, tensor_name) is not None:
        return None
    return _find(self.graph.initializer, tensor_name, "name", "initializer")


def _valueinfo(self: "ModelWrapper", tensor_name: str) -> ValueInfoProto | None:
    graph = self.graph
    found = _cached(graph.value_info, tensor_name, "name", "value_info")
    for container, kind in (
        (graph.input, "input"),
        (graph.output, "output"),
        (graph.value_info, "value_info"),
    ):
        found = found or _find(container, tensor_name, "name", kind)
    return found


def _shape(self: "ModelWrapper", tensor_name: str, fix_missing_init_shape: bool = False) -> list[int] | None:
    found = _valueinfo(self, tensor_name)
    if found is not None:
        return [dimension.dim_value for dimension in found.type.tensor_type.shape.dim]
    constant = _constant(self, tensor_name)
    if constant is None:
        return None
    if fix_missing_init_shape:
        self.set_tensor_shape(tensor_name, list(constant.dims), dtype=constant.data_type)
    return list(constant.dims)


def _initializer(self: "ModelWrapper", tensor_name: str, return_dtype: bool = False) -> Any:
    constant = _constant(self, tensor_name)
    values = None if constant is None else numpy_helper.to_array(constant)
    if return_dtype:
        return values, (None if constant is None else constant.data_type)
    return values


def _cached_producer(self: "ModelWrapper", tensor_name: str) -> NodeProto | None:
    nodes, index = self.graph.node, _indices.get(("producer", tensor_name))
    if index is not None and index < len(nodes) and tensor_name in nodes[index].output:
        return nodes[index]
    return None


def _producer(self: "ModelWrapper", tensor_name: str) -> NodeProto | None:
    found = _cached_producer(self, tensor_name)
    if found is not None or _cached(self.graph.initializer, tensor_name, "name", "initializer") is not None:
        return found
    nodes = enumerate(self.graph.node)
    _indices.update({("producer", output): index for index, node in nodes for output in node.output})
    return _cached_producer(self, tensor_name)


def _cleanup(self: "ModelWrapper") -> "ModelWrapper":
    """`ModelWrapper.cleanup` without the costly passes that would change nothing."""
    from qonnx.transformation import general

    passes = [general.RemoveUnusedTensors(), general.RemoveStaticGraphInputs()]
    if not _sorted(self.graph):
        passes.append(general.SortGraph())
    constants = {each.name for each in self.graph.initializer}
    uses = Counter(name for node in self.graph.node for name in node.input if name in constants)
    if any(len(node.input) > 1 and node.input[0] in constants for node in self.graph.node):
        passes.append(general.SortCommutativeInputsInitializerLast())
    if any(count > 1 for count in uses.values()):
        passes.append(general.GiveUniqueParameterTensors())
    model = self
    for each in passes:
        model = model.transform(each, cleanup=False, make_deepcopy=False)
    return model


def _sorted(graph: GraphProto) -> bool:
    """Whether every node has inputs and reads only what precedes it."""
    ready = {each.name for container in (graph.input, graph.initializer) for each in container} | {""}
    for node in graph.node:
        if not any(node.input) or not ready.issuperset(node.input):
            return False
        ready.update(node.output)
    return True
