"""LiteRT (formerly TensorFlow Lite): a ``.tflite`` that its interpreter runs on XNNPACK's integer kernels.

Convolutions work on the run's own grids. A Linear with integer weights and a float result is a "hybrid"
kernel there, which quantizes its input token by token; the converter cannot write one from given codes,
so the written file is edited: float weights that are a layer's become the layer's codes.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from brevitas_defakeq.export.agreement import Run
from brevitas_defakeq.export.export_card import package_version
from brevitas_defakeq.export.integer_activations import RangeActivation
from brevitas_defakeq.export.integer_modules import LogitNetwork, RuntimeLayers
from brevitas_defakeq.export.integer_weights import IntegerWeight
from brevitas_defakeq.export.mobile import MobileExporter
from brevitas_defakeq.export.weight_modules import FloatWeight, RequantizedWeight, signed_codes

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import ModelT


def _write(
    modules: LogitNetwork, weights: Mapping[str, IntegerWeight], example: Tensor, path: Path
) -> Counter[str]:
    """Write the file for one image; how often each operator is in it."""
    import litert_torch
    from ai_edge_litert.tools import flatbuffer_utils
    from litert_torch.quantize import pt2e_quantizer, quant_config

    static = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True)
    static = quant_config.QuantConfig(pt2e_quantizer=pt2e_quantizer.PT2EQuantizer().set_global(static))
    written = litert_torch.convert(modules, (example,), quant_config=static)
    model = flatbuffer_utils.read_model_from_bytearray(written.model_content())
    names = Counter(
        flatbuffer_utils.opcode_to_name(model, op.opcodeIndex) for op in model.subgraphs[0].operators
    )
    _put_codes_(model, weights)
    _quantize_input_(model)
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return names


def _put_codes_(model: "ModelT", weights: Mapping[str, IntegerWeight]) -> None:
    """FloatWeight weights of fully connected layers as int8 codes with a scale for each output channel."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools.flatbuffer_utils import opcode_to_name

    linear = [weight for weight in weights.values() if not weight.integer_bias and weight.is_integer]
    known = {FloatWeight(weight).weight.numpy().tobytes(): weight for weight in linear}
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if opcode_to_name(model, operator.opcodeIndex) != "FULLY_CONNECTED":
            continue
        tensor = graph.tensors[operator.inputs[1]]
        data = model.buffers[tensor.buffer].data
        weight = None if data is None else known.get(np.asarray(data, dtype=np.uint8).tobytes())
        if weight is None:
            continue
        codes, scale = signed_codes(weight)
        model.buffers[tensor.buffer].data = codes.view(np.uint8).ravel()
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT(
            scale=scale, zeroPoint=np.zeros(len(scale), dtype=np.int64), quantizedDimension=0
        )


def _quantize_input_(model: "ModelT") -> None:
    """Quantize the image inside the file: the converter leaves the first quantizer to the caller."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    inner = graph.tensors[graph.inputs[0]]
    if inner.type == schema.TensorType.FLOAT32:
        return
    outer = schema.TensorT(shape=inner.shape, type=schema.TensorType.FLOAT32, name=b"image", hasRank=True)
    graph.tensors.append(outer)
    model.operatorCodes.append(
        schema.OperatorCodeT(
            deprecatedBuiltinCode=schema.BuiltinOperator.QUANTIZE,
            builtinCode=schema.BuiltinOperator.QUANTIZE,
        )
    )
    outer_index = len(graph.tensors) - 1
    quantize = schema.OperatorT(
        opcodeIndex=len(model.operatorCodes) - 1, inputs=[outer_index], outputs=[graph.inputs[0]],
        builtinOptionsType=schema.BuiltinOptions.QuantizeOptions, builtinOptions=schema.QuantizeOptionsT(),
    )  # fmt: skip
    graph.operators.insert(0, quantize)
    for signature in model.signatureDefs or []:
        for entry in signature.inputs:
            entry.tensorIndex = outer_index
    graph.inputs = [outer_index]


def _open(path: Path) -> Run:
    """The file in LiteRT's interpreter, image by image."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def score(images: np.ndarray) -> np.ndarray:
        scores = []
        for image in images:
            interpreter.set_tensor(source, image[None])
            interpreter.invoke()
            scores.append(interpreter.get_tensor(output).reshape(-1).copy())
        return np.concatenate(scores)

    return score


LITERT = MobileExporter(
    format="litert", file="model.tflite", write=_write, open=_open,
    layers=RuntimeLayers(
        linear_input=RangeActivation, linear_weight=FloatWeight, conv_weight=RequantizedWeight
    ),
    version=partial(package_version, "ai-edge-litert"),
)  # fmt: skip
