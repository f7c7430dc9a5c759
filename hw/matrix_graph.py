"""A graph of one matrix layer, made from its shape alone, for FINN's estimators to look at."""

import numpy as np
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import qonnx_make_model

_DOMAIN = {"domain": "finn.custom_op.fpgadataflow", "backend": "fpgadataflow"}


def matrix_graph(matrix, weight_bits: int, style: str) -> ModelWrapper:
    """One MVAU; a window generator and a VVAU where ``matrix`` (`hw.estimate.MatrixLayer`) is depthwise."""
    activations = f"{'INT' if matrix.input_signed else 'UINT'}{matrix.input_bits}"
    common = {
        "inputDataType": activations, "weightDataType": f"INT{weight_bits}", "outputDataType": "INT32",
        "noActivation": 1, "preferred_impl_style": style, "PE": 1, "SIMD": 1,
        "mem_mode": "internal_decoupled", **_DOMAIN,
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
    # FINN asks the weights only whether they are narrow: small ones stand for a large matrix
    sizes = (1, 1) if matrix.kernel is None else (matrix.outputs, 1, *matrix.kernel)
    model.set_initializer("weights", np.full(sizes, 1 - 2.0 ** (weight_bits - 1), np.float32))
    model.set_tensor_datatype("weights", DataType[f"INT{weight_bits}"])
    model.set_tensor_datatype(first, DataType[activations])
    return model


def _depthwise(matrix, activations: str, common: dict) -> list:
    """FINN folds a VVAU together with the generator that feeds it."""
    (height, width), channels, vectors = matrix.kernel, matrix.outputs, matrix.vectors
    generator = helper.make_node(
        "ConvolutionInputGenerator", ["image"], ["window"], name="ConvolutionInputGenerator_0",
        ConvKernelDim=[height, width], IFMChannels=channels, IFMDim=[height, vectors + width - 1],
        OFMDim=[1, vectors], SIMD=1, Stride=[1, 1], Dilation=[1, 1], depthwise=1, is1D=0,
        inputDataType=activations, outputDataType=activations, **_DOMAIN,
    )  # fmt: skip
    product = helper.make_node(
        "VVAU", ["window", "weights"], ["out"], name="VVAU_0", Channels=channels, Kernel=[height, width],
        Dim=[1, vectors], **common,
    )  # fmt: skip
    return [generator, product]
