"""Thresholds of activation functions, held against the quantizer itself, number by number."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from brevitas_defakeq.export.finn.activation_functions import find_thresholds, functions_before, step_function
from brevitas_defakeq.export.finn.graph_editor import GraphEditor
from brevitas_defakeq.export.finn.quant_node import QuantGrid, smallest_type, type_name


def graph_of(*nodes, **constants) -> GraphEditor:
    """A graph x [4] -> y of these nodes."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    tensors = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    body = helper.make_graph(nodes, "functions", ends[:1], ends[1:], tensors)
    return GraphEditor(helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=9))


def grid(scale=0.1, zero=0, bits=4, signed=False, narrow=False) -> QuantGrid:
    return QuantGrid(np.float32(scale), np.float32(zero), np.float32(bits), signed, narrow, "ROUND")


def by_hand(values, scale, zero, low, high):
    """QONNX's Quant, the integers without its zero point: clip, then round half to even, in float32."""
    codes = values.astype(np.float32) / np.float32(scale) + np.float32(zero)
    return np.round(np.clip(codes, low, high)) - zero


def around(thresholds) -> np.ndarray:
    """Each threshold, its float32 neighbours, and what lies between."""
    sides = [thresholds, np.nextafter(thresholds, -np.inf), np.nextafter(thresholds, np.inf)]
    return np.concatenate([*sides, np.linspace(-3, 3, 2001), [-1e30, 1e30, 0.0, -0.0]]).astype(np.float32)


@pytest.mark.parametrize("zero, bits, signed, narrow, low, high", [
    (0, 4, False, False, 0, 15), (5, 4, False, False, 0, 15), (0, 3, True, False, -4, 3),
    (0, 3, True, True, -3, 3), (200, 8, False, False, 0, 255), (15, 4, False, False, 0, 15),
])  # fmt: skip
@pytest.mark.parametrize("scale", [0.1, 0.125, 0.003])
def test_thresholds_give_the_integers_of_every_float32(zero, bits, signed, narrow, low, high, scale):
    thresholds, first = find_thresholds(grid(scale, zero, bits, signed, narrow).integers)
    assert first == low - zero and len(thresholds) == high - low
    assert (np.diff(thresholds) > 0).all() and thresholds.dtype == np.float32
    values = around(thresholds)
    counted = first + (values[:, None] >= thresholds).sum(1)
    np.testing.assert_array_equal(counted, by_hand(values, scale, zero, low, high))


@pytest.mark.parametrize("function, reference", [
    (("Relu", ["x"]), lambda x: np.maximum(x, np.float32(0))),
    (("Clip", ["x", "low", "high"]), lambda x: np.clip(x, np.float32(-0.2), np.float32(0.7))),
    (("LeakyRelu", ["x"], 0.25), lambda x: np.where(x < 0, np.float32(0.25) * x, x)),
])  # fmt: skip
def test_a_function_is_taken_into_the_thresholds(function, reference):
    operator, inputs, *alpha = function
    graph = graph_of(
        helper.make_node(operator, inputs, ["y"], **dict(zip(["alpha"], alpha, strict=False))),
        low=-0.2,
        high=0.7,
    )
    chain = functions_before(graph, "y")
    assert [node.op_type for node in chain] == [operator]
    thresholds, first = find_thresholds(step_function(graph, chain, grid(0.1, 3)))
    values = around(thresholds)
    counted = first + (values[:, None] >= thresholds).sum(1)
    np.testing.assert_array_equal(counted, by_hand(reference(values), 0.1, 3, 0, 15))


def test_codes_that_a_function_never_gives_have_no_threshold():
    graph = graph_of(helper.make_node("Relu", ["x"], ["y"]))
    thresholds, first = find_thresholds(
        step_function(graph, functions_before(graph, "y"), grid(0.1, 0, 4, True))
    )
    assert first == 0 and len(thresholds) == 7


def test_scalar_arithmetic_belongs_to_the_function_above_it_only():
    relu, scaled = (
        helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Mul", ["r", "two"], ["y"])
    )  # fmt: skip
    graph = graph_of(relu, scaled, two=2.0)
    assert [node.op_type for node in functions_before(graph, "y")] == ["Relu", "Mul"]
    alone = graph_of(helper.make_node("Mul", ["x", "two"], ["y"]), two=2.0)
    assert functions_before(alone, "y") == []


@pytest.mark.parametrize("node, constants", [
    (helper.make_node("LeakyRelu", ["x"], ["y"], alpha=-0.1), {}),
    (helper.make_node("Gelu", ["x"], ["y"]), {}),
    (helper.make_node("Mul", ["x", "x"], ["y"]), {}),
])  # fmt: skip
def test_what_falls_is_no_such_function(node, constants):
    assert functions_before(graph_of(node, **constants), "y") == []


@pytest.mark.parametrize("min_integer, max_integer, name", [
    (-37, 218, "INT9"), (0, 255, "UINT8"), (-128, 127, "INT8"), (0, 1, "UINT2"), (-1, 1, "INT2"),
    (-8, 7, "INT4"), (-9, 0, "INT5"), (0, 256, "UINT9"),
])  # fmt: skip
def test_the_smallest_type_that_holds_integers(min_integer, max_integer, name):
    assert type_name(min_integer, max_integer) == name
    assert smallest_type(min_integer, max_integer)[1] == (min_integer < 0)


def test_onnx_is_the_reference_of_smooth_functions():
    function = helper.make_node("Sigmoid", ["x"], ["y"])
    graph = graph_of(function)
    thresholds, first = find_thresholds(step_function(graph, functions_before(graph, "y"), grid(1 / 15)))
    values = np.linspace(-8, 8, 4001).astype(np.float32)
    (reference,) = ReferenceEvaluator(graph.model).run(None, {"x": values})
    exact = (
        np.abs(reference * 15 - np.floor(reference * 15) - 0.5) > 1e-4
    )  # two sigmoids differ next to a tie
    counted = first + (values[:, None] >= thresholds).sum(1)
    np.testing.assert_array_equal(counted[exact], by_hand(reference, 1 / 15, 0, 0, 15)[exact])
