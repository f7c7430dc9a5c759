"""Each rewrite of the steps leaves the numbers alone: before and after by ONNX Runtime and numpy."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.fpga


def wrapped(nodes, shape, output_shape, **constants):
    """A graph from x to y (qonnx ModelWrapper)."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    body = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return ModelWrapper(helper.make_model(body, opset_imports=opsets, ir_version=9)).transform(InferShapes())


def thresholds(source, levels, target, bias=0.0):
    return helper.make_node(
        "MultiThreshold", [source, levels], [target], domain="qonnx.custom_op.general", out_dtype="INT8",
        out_bias=bias, data_layout="NWC",
    )  # fmt: skip


def rewritten(model, rewrite):
    from hw.steps.fixpoint import NodeRewrite

    return model.transform(NodeRewrite(rewrite))


def equal(before, after, values, atol=0.0):
    from qonnx.core.onnx_exec import execute_onnx

    first, second = (execute_onnx(model, {"x": values})["y"] for model in (before, after))
    assert first.size > 1 and np.ptp(first) > 0
    np.testing.assert_allclose(second, first, rtol=0, atol=atol)


def kinds(model):
    return [node.op_type for node in model.graph.node]


def test_patches_to_tokens_become_one_reshape():
    from hw.steps.data_movement import fuse_data_movement

    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["a", "s"], ["b"]),
        helper.make_node("Transpose", ["b"], ["y"], perm=[0, 2, 1]),
    ]
    model = wrapped(nodes, [1, 2, 3, 5], [1, 6, 5], s=np.array([1, 5, 6]))
    after = rewritten(model, fuse_data_movement)
    assert kinds(after) == ["Reshape"]
    equal(model, after, np.random.default_rng(0).normal(size=(1, 2, 3, 5)).astype(np.float32))


def test_heads_that_do_change_the_order_stay():
    from hw.steps.data_movement import fuse_data_movement

    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["a"]),
        helper.make_node("Transpose", ["a"], ["y"], perm=[0, 2, 1, 3]),
    ]
    model = wrapped(nodes, [1, 4, 6], [1, 2, 4, 3], s=np.array([1, 4, 2, 3]))
    assert kinds(rewritten(model, fuse_data_movement)) == ["Reshape", "Transpose"]


def test_thresholds_move_before_a_class_token():
    from hw.steps.threshold_rewrites import hoist_thresholds

    nodes = [helper.make_node("Concat", ["t", "x"], ["a"], axis=1), thresholds("a", "l", "y", -2.0)]
    token = np.array([[[0.3, -0.9, 0.05]]], np.float32)
    model = wrapped(nodes, [1, 4, 3], [1, 5, 3], t=token, l=np.array([[-0.5, 0.0, 0.2, 0.6]], np.float32))
    after = rewritten(model, hoist_thresholds)
    assert kinds(after) == ["MultiThreshold", "Concat"]
    assert (after.get_initializer(after.graph.node[1].input[0]) == [[[1, -2, 0]]]).all()  # counted by hand
    equal(model, after, np.random.default_rng(0).normal(size=(1, 4, 3)).astype(np.float32))


def test_a_token_that_is_no_multiple_is_added_with_the_positions():
    from qonnx.core.datatype import DataType

    from hw.steps.class_token import move_scale_past_token

    nodes = [
        helper.make_node("Mul", ["x", "s"], ["a"]), helper.make_node("Concat", ["t", "a"], ["b"], axis=1),
        helper.make_node("Add", ["b", "p"], ["y"]),
    ]  # fmt: skip
    draw = np.random.default_rng(0)
    model = wrapped(
        nodes, [1, 4, 3], [1, 5, 3], s=np.float32(0.13), t=draw.normal(size=(1, 1, 3)).astype(np.float32),
        p=draw.normal(size=(1, 5, 3)).astype(np.float32),
    )  # fmt: skip
    model.set_tensor_datatype("x", DataType["INT8"])
    after = rewritten(model, move_scale_past_token)
    assert kinds(after) == ["Concat", "Mul", "Add"]
    token = after.graph.node[0].input[0]
    assert not after.get_initializer(token).any() and after.get_tensor_datatype(token) == DataType["INT8"]
    equal(model, after, draw.integers(-128, 128, (1, 4, 3)).astype(np.float32), atol=1e-6)


def test_positions_on_the_grid_become_a_sum_of_integers():
    from hw.steps.threshold_rewrites import move_integer_offset_before_scale

    nodes = [
        helper.make_node("Mul", ["x", "s"], ["a"]), helper.make_node("Add", ["a", "p"], ["b"]),
        thresholds("b", "l", "y"),
    ]  # fmt: skip
    scale, draw = np.float32(0.037), np.random.default_rng(0)
    positions = draw.integers(-9, 9, (1, 4, 3)).astype(np.float32)
    levels = np.linspace(-0.41, 0.43, 12, dtype=np.float32)[None]
    model = wrapped(nodes, [1, 4, 3], [1, 4, 3], s=scale, p=positions * scale, l=levels)
    after = rewritten(model, move_integer_offset_before_scale)
    assert kinds(after) == ["Add", "Mul", "MultiThreshold"]
    assert (after.get_initializer(after.graph.node[0].input[1]) == positions).all()
    equal(model, after, draw.integers(-9, 9, (1, 4, 3)).astype(np.float32))


def test_scales_past_a_sum_only_where_nobody_else_reads_them():
    from hw.steps.sum_rewrites import move_past_sum

    def two(last):
        return [
            helper.make_node("Mul", ["x", "s"], ["a"]), helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Mul", ["r", "t"], ["b"]), helper.make_node("Add", ["a", "b"], [last]),
        ]  # fmt: skip

    constants = {"s": np.float32(0.3), "t": np.float32(0.3)}
    model = wrapped(two("y"), [1, 4], [1, 4], **constants)
    after = rewritten(model, move_past_sum)
    assert kinds(after) == ["Relu", "Add", "Mul"]
    equal(model, after, np.array([[1.0, -2.0, 3.0, 0.5]], np.float32), atol=1e-6)
    forked = wrapped([*two("c"), helper.make_node("Add", ["c", "a"], ["y"])], [1, 4], [1, 4], **constants)
    assert kinds(rewritten(forked, move_past_sum)) == kinds(forked)


def test_average_pooling_is_a_convolution_and_a_scale():
    from hw.steps.tidy_profile import _average_as_convolution

    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2])
    model = wrapped([pool], [1, 4, 7, 7], [1, 4, 3, 3])
    after = rewritten(model, _average_as_convolution)
    assert kinds(after) == ["Conv", "Mul"]
    equal(model, after, np.random.default_rng(0).normal(size=(1, 4, 7, 7)).astype(np.float32), atol=1e-6)


def test_a_clip_goes_into_thresholds():
    from hw.steps.convert_to_finn import _absorb_clip

    nodes = [helper.make_node("Clip", ["x", "low", "high"], ["a"]), thresholds("a", "l", "y")]
    levels = np.array([[-1.0, 0.0, 0.5, 2.0, 2.5]], np.float32)
    model = wrapped(nodes, [1, 9, 3], [1, 9, 3], low=np.float32(0), high=np.float32(2), l=levels)
    after = rewritten(model, _absorb_clip)
    assert kinds(after) == ["MultiThreshold"]
    values = np.linspace(-3, 4, 27, dtype=np.float32).reshape(1, 9, 3)
    equal(model, after, values)


def test_halves_go_to_the_even_side():
    """A quantizer of scale 2 on whole numbers: 1, 3, 5 are halves; numpy rounds them to 0, 2, 2."""
    from hw.exact import run_exactly
    from hw.steps.convert_to_finn import convert_to_finn

    nodes = [helper.make_node("Mul", ["x", "one"], ["a"]), helper.make_node(
        "Quant", ["a", "s", "z", "b"], ["y"], domain="qonnx.custom_op.general", signed=1, narrow=0,
        rounding_mode="ROUND")]  # fmt: skip
    constants = {"one": 1.5, "s": 3.0, "z": 0.0, "b": 4.0}
    model = wrapped(nodes, [1, 20], [1, 20], **{k: np.float32(v) for k, v in constants.items()})
    values = np.arange(-10, 10, dtype=np.float32)[None]
    wanted = 3 * np.clip(np.round(values / 2), -8, 7)
    assert (run_exactly(model, values) == wanted).all()
    assert (run_exactly(convert_to_finn(model), values) == wanted).all()


def test_float64_execution_is_onnx_runtimes_but_for_rounding():
    import onnxruntime

    from hw.exact import run_exactly

    draw = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], kernel_shape=[3, 3], strides=[2, 1], group=2,
                         pads=[1, 0, 2, 1], dilations=[1, 2]),
        helper.make_node("Gelu", ["a"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["y"]),
    ]  # fmt: skip
    model = wrapped(
        nodes, [1, 4, 9, 9], [1, 6, 1, 1], w=draw.normal(size=(6, 2, 3, 3)).astype(np.float32),
        b=draw.normal(size=6).astype(np.float32),
    )  # fmt: skip
    values = draw.normal(size=(1, 4, 9, 9)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        model.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = run_exactly(model, values)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, session.run(None, {"x": values})[0], atol=1e-6)
