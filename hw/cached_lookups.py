"""qonnx finds tensors by scanning lists from front to end, again and again; here it remembers places.

Every remembered place is checked before it is used, so that a changed graph costs a scan and no more. And its
cleanup after each pass sorts and copies only where there is something to sort or copy. Results are the same.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
from onnx import numpy_helper

#: Lists shorter than this are scanned.
_SHORT = 16
_NUMPY_VECTORIZE = np.vectorize
_places: dict[tuple[str, str], int] = {}


@contextlib.contextmanager
def cached_lookups() -> Iterator[None]:
    """Within the context `ModelWrapper` finds shapes, types, constants and producers by remembered places."""
    from qonnx.core.modelwrapper import ModelWrapper

    methods = {
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
            _places.clear()


def _vectorize(*arguments, **settings):
    """numpy.vectorize, but for the question that FINN asks of millions of thresholds, which takes arrays."""
    if len(arguments) == 1 and not settings and getattr(arguments[0], "__name__", "") == "allowed":
        return arguments[0]
    return _NUMPY_VECTORIZE(*arguments, **settings)


def _by_name(container, name: str, name_field: str = "name"):
    return _find(container, name, name_field, name_field)


def _remembered(container, name: str, field: str, kind: str):
    """The element of a protobuf list at the place where ``name`` was last, if it is there still."""
    place = _places.get((kind, name))
    if place is not None and place < len(container) and getattr(container[place], field) == name:
        return container[place]
    return None


def _find(container, name: str, field: str, kind: str):
    """The element of a protobuf list whose field says ``name``, or None; names are unique, as ONNX has it."""
    if len(container) <= _SHORT:
        return next((element for element in container if getattr(element, field) == name), None)
    found = _remembered(container, name, field, kind)
    if found is None:
        _places.update({(kind, getattr(element, field)): place for place, element in enumerate(container)})
        found = _remembered(container, name, field, kind)
    return found


def _constant(self, tensor_name: str):
    if _remembered_producer(self, tensor_name) is not None:
        return None
    return _find(self.graph.initializer, tensor_name, "name", "initializer")


def _valueinfo(self, tensor_name: str):
    graph = self.graph
    found = _remembered(graph.value_info, tensor_name, "name", "value_info")
    for container, kind in (
        (graph.input, "input"),
        (graph.output, "output"),
        (graph.value_info, "value_info"),
    ):
        found = found or _find(container, tensor_name, "name", kind)
    return found


def _shape(self, tensor_name: str, fix_missing_init_shape: bool = False):
    found = _valueinfo(self, tensor_name)
    if found is not None:
        return [dimension.dim_value for dimension in found.type.tensor_type.shape.dim]
    constant = _constant(self, tensor_name)
    if constant is None:
        return None
    if fix_missing_init_shape:
        self.set_tensor_shape(tensor_name, list(constant.dims), dtype=constant.data_type)
    return list(constant.dims)


def _initializer(self, tensor_name: str, return_dtype: bool = False):
    constant = _constant(self, tensor_name)
    values = None if constant is None else numpy_helper.to_array(constant)
    if return_dtype:
        return values, (None if constant is None else constant.data_type)
    return values


def _remembered_producer(self, tensor_name: str):
    nodes, place = self.graph.node, _places.get(("producer", tensor_name))
    if place is not None and place < len(nodes) and tensor_name in nodes[place].output:
        return nodes[place]
    return None


def _producer(self, tensor_name: str):
    found = _remembered_producer(self, tensor_name)
    if (
        found is not None
        or _remembered(self.graph.initializer, tensor_name, "name", "initializer") is not None
    ):
        return found
    nodes = enumerate(self.graph.node)
    _places.update({("producer", output): place for place, node in nodes for output in node.output})
    return _remembered_producer(self, tensor_name)


def _cleanup(self):
    """`ModelWrapper.cleanup`, its costly parts only where they would change something."""
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


def _sorted(graph) -> bool:
    """Whether every node reads only what stands before it, and something at all."""
    ready = {each.name for container in (graph.input, graph.initializer) for each in container} | {""}
    for node in graph.node:
        if not any(node.input) or not ready.issuperset(node.input):
            return False
        ready.update(node.output)
    return True
