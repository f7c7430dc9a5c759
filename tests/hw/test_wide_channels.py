"""A convolution split in two, narrow and 16-bit channels, as the profile has what VEFT restores."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.fpga


def quant(inputs, output):
    return helper.make_node(
        "Quant", inputs, [output], domain="qonnx.custom_op.general", signed=1, narrow=0,
        rounding_mode="ROUND",
    )  # fmt: skip


def split_network():
    """Integers [1, 3, 8, 8] -> scale -> two convolutions -> Concat -> scale, bias -> 8 bits -> head."""
    draw = np.random.default_rng(0)
    constants = {
        "s": np.float32(0.03), "zero": np.float32(0), "one": np.float32(1), "b3": np.float32(3),
        "b16": np.float32(16), "b8": np.float32(8), "s_out": np.float32(0.09), "s_pool": np.float32(0.02),
        "narrow": draw.integers(-3, 4, (6, 3, 3, 3)).astype(np.float32),
        "wide": draw.integers(-9000, 9000, (2, 3, 3, 3)).astype(np.float32),
        "scales": np.array([0.4] * 6 + [0.0002] * 2, np.float32).reshape(1, 8, 1, 1),
        "bias": draw.normal(size=(1, 8, 1, 1)).astype(np.float32),
        "head": draw.integers(-7, 8, (8, 2)).astype(np.float32), "shape": np.array([1, 8]),
    }  # fmt: skip
    pads = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1], "dilations": [1, 1], "group": 1}
    nodes = [
        helper.make_node("Mul", ["x", "s"], ["a"]),
        quant(["narrow", "one", "zero", "b3"], "narrow_q"), quant(["wide", "one", "zero", "b16"], "wide_q"),
        helper.make_node("Conv", ["a", "narrow_q"], ["p"], **pads),
        helper.make_node("Conv", ["a", "wide_q"], ["q"], **pads),
        helper.make_node("Concat", ["p", "q"], ["c"], axis=1),
        helper.make_node("Mul", ["c", "scales"], ["d"]), helper.make_node("Add", ["d", "bias"], ["e"]),
        quant(["e", "s_out", "zero", "b8"], "f"), helper.make_node("GlobalAveragePool", ["f"], ["g"]),
        helper.make_node("Reshape", ["g", "shape"], ["h"]), quant(["h", "s_pool", "zero", "b8"], "i"),
        quant(["head", "one", "zero", "b8"], "head_q"), helper.make_node("MatMul", ["i", "head_q"], ["y"]),
    ]  # fmt: skip
    body = helper.make_graph(
        nodes, "split", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=9)


def test_split_convolution_maps_whole(tmp_path):
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    from hw.boards import board_named
    from hw.build_steps import Build

    model = ModelWrapper(split_network()).transform(InferShapes())
    model.set_tensor_datatype("x", DataType["INT8"])
    model.save(str(tmp_path / "model.onnx"))
    build = Build(tmp_path / "model.onnx", board_named("ZCU104"), tmp_path / "out")
    graph = build.run()
    kinds = [node.op_type for node in graph.graph.node]
    assert sum(kind.startswith("MVAU") for kind in kinds) == 3
    assert sum(kind.startswith("StreamingConcat") for kind in kinds) == 1
    assert all(found["equal"] == found["frames"] for found in build.verified.values())
