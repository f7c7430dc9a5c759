"""ONNX Runtime's own quantization: static and dynamic int8, and 4-bit matrices.

Static int8 takes its ranges by the default (the least and the largest value) and by the 99.99 % percentile.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.exchange import Given, Made, Peer, serve


def prepared(given: Given) -> Path:
    """The float file after the tool's own preparation: shapes inferred, operators fused."""
    from onnxruntime.quantization import quant_pre_process

    path = given.out / "prepared.onnx"
    quant_pre_process(str(given.onnx), str(path), skip_symbolic_shape=True)
    return path


def static(given: Given, **options: Any) -> Made:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator = iter(given.feeds())

        def get_next(self) -> dict | None:
            return next(self.rest, None)

    quantize_static(
        str(prepared(given)), str(given.out / "model.onnx"), Reader(), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, **options,
    )  # fmt: skip
    return Made(["model.onnx"], "8 per channel", "8")


def static_minmax(given: Given) -> Made:
    return static(given)


def static_percentile(given: Given) -> Made:
    from onnxruntime.quantization import CalibrationMethod

    return static(
        given, calibrate_method=CalibrationMethod.Percentile, extra_options={"CalibPercentile": 99.99}
    )  # fmt: skip


def dynamic(given: Given) -> Made:
    """Its ConvInteger has one scale a layer, also with ``per_channel``."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(prepared(given)), str(given.out / "model.onnx"), per_channel=True, weight_type=QuantType.QInt8
    )  # fmt: skip
    operators = {node.op_type for node in onnx.load(given.out / "model.onnx").graph.node}
    weights = "8, convolutions per tensor" if "ConvInteger" in operators else "8 per channel"
    return Made(["model.onnx"], weights, "8, range of each image")


def int4(given: Given) -> Made:
    """MatMulNBits, blocks of 32, asymmetric: matrices only."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(given.onnx)
    before = {node.name for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")}
    quantizer = MatMulNBitsQuantizer(model, bits=4, block_size=32, is_symmetric=False)
    quantizer.process()
    made = quantizer.model.model
    onnx.save(made, given.out / "model.onnx")
    matrices = sum(node.op_type == "MatMulNBits" for node in made.graph.node)
    if not matrices:
        raise ValueError(
            "MatMulNBitsQuantizer changed nothing: the graph has no MatMul with constant weights"
        )
    convolutions = sum(node.op_type == "Conv" for node in made.graph.node)
    note = f"{matrices} of {len(before)} layers became MatMulNBits; {convolutions} convolutions stay in float"
    return Made(["model.onnx"], "4 in blocks of 32, matrices only", "float", note=note)


PEER = Peer(
    ("onnxruntime", "onnx"),
    {
        "static_int8": static_minmax, "static_int8_percentile": static_percentile, "dynamic_int8": dynamic,
        "int4": int4,
    },
)  # fmt: skip

if __name__ == "__main__":
    serve("onnxruntime", PEER)
