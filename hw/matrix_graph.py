"""A graph of one matrix layer, built from its shape alone, as input of FINN's estimators."""

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto, TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import qonnx_make_model

from hw.finn_quirks import FINN_DOMAIN

if TYPE_CHECKING:
    from hw.estimate import MatrixLayer

_HARDWARE: dict[str, Any] = {"domain": FINN_DOMAIN, "backend": "fpgadataflow"}


def matrix_graph(matrix: "MatrixLayer", weight_bits: int, style: str) -> ModelWrapper:
    """An MVAU, or a window generator and a VVAU if the layer is depthwise.

    Args:
        weight_bits: bits of the signed weights.
        style: "rtl", "hls", or "" for FINN's choice.
    """
    activations = f"{'INT' if matrix.input_signed else 'UINT'}{matrix.input_bits}"
    common: dict[str, Any] = {
        "inputDataType": activations, "weightDataType": f"INT{weight_bits}", "outputDataType": "INT32",
        "noActivation": 1, "preferred_impl_style": style, "PE": 1, "SIMD": 1,
        "mem_mode": "internal_decoupled", **_HARDWARE,
    }  # fmt: skip
    if matrix.kernel is None:
        width = matrix.inputs
        nodes = [helper.make_node(
            "MVAU", ["window", "weights"], ["out"], name="MVAU_0", MW=width, MH=matrix.outputs,
            numInputVectors=[1, 1, matrix.vectors], **common,
        )]  # fmt: skip
    else:
        width = matrix.inputs * matrix.outputs
        nodes = _depthwise(matrix, activations, common)
    first, shape = nodes[0].input[0], [1, 1, matrix.vectors, width]
    graph = helper.make_graph(
        nodes, "layer", [helper.make_tensor_value_info(first, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, matrix.vectors, matrix.outputs])],
    )  # fmt: skip
    model = ModelWrapper(qonnx_make_model(graph))
    # the estimators only test whether the weights are narrow: a small array replaces the large matrix
    sizes = (1, 1) if matrix.kernel is None else (matrix.outputs, 1, *matrix.kernel)
    model.set_initializer("weights", np.full(sizes, 1 - 2.0 ** (weight_bits - 1), np.float32))
    model.set_tensor_datatype("weights", DataType[f"INT{weight_bits}"])
    model.set_tensor_datatype(first, DataType[activations])
    return model


def _depthwise(matrix: "MatrixLayer", activations: str, common: dict[str, Any]) -> list[NodeProto]:
    """A VVAU with its window generator, since FINN folds the two together."""
    assert matrix.kernel is not None
    (height, width), channels, vectors = matrix.kernel, matrix.outputs, matrix.vectors
    generator = helper.make_node(
        "ConvolutionInputGenerator", ["image"], ["window"], name="ConvolutionInputGenerator_0",
        ConvKernelDim=[height, width], IFMChannels=channels, IFMDim=[height, vectors + width - 1],
        OFMDim=[1, vectors], SIMD=1, Stride=[1, 1], Dilation=[1, 1], depthwise=1, is1D=0,
        inputDataType=activations, outputDataType=activations, **_HARDWARE,
    )  # fmt: skip
    product = helper.make_node(
        "VVAU", ["window", "weights"], ["out"], name="VVAU_0", Channels=channels, Kernel=[height, width],
        Dim=[1, vectors], **common,
    )  # fmt: skip
    return [generator, product]
