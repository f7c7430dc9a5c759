"""NNCF on OpenVINO's and on ONNX's graph: int8 post-training quantization, and 4-bit weights.

``model_type=TRANSFORMER`` for networks with attention, as its documentation says; ``int8_accurate`` is its
way to more accuracy: the mixed preset and the full bias correction.
"""

from collections import Counter
from typing import Any

import numpy as np

from benchmarks.peers.exchange import INPUT, Given, Made, Peer, serve


def settings(given: Given) -> dict[str, Any]:
    import nncf
    import onnx

    attention = any(node.op_type == "Softmax" for node in onnx.load(given.onnx).graph.node)
    return {
        "subset_size": len(given.calibration()),
        "model_type": nncf.ModelType.TRANSFORMER if attention else None,
    }


def dataset(given: Given) -> Any:
    import nncf

    return nncf.Dataset(given.feeds())


def int8(given: Given, **options: Any) -> Made:
    import nncf
    import openvino

    model = openvino.convert_model(given.onnx)
    return saved(
        given, nncf.quantize(model, dataset(given), **settings(given), **options), "8 per channel", "8"
    )


def int8_accurate(given: Given) -> Made:
    import nncf

    return int8(given, preset=nncf.QuantizationPreset.MIXED, fast_bias_correction=False)


def int8_onnx(given: Given) -> Made:
    import nncf
    import onnx

    onnx.save(
        nncf.quantize(onnx.load(given.onnx), dataset(given), **settings(given)), given.out / "model.onnx"
    )  # fmt: skip
    return Made(["model.onnx"], "8 per channel", "8")


def int4(given: Given) -> Made:
    """Groups of 64, the largest that divides every width here, and scales estimated from the images."""
    import nncf
    import openvino

    model = nncf.compress_weights(
        openvino.convert_model(given.onnx), mode=nncf.CompressWeightsMode.INT4_ASYM, group_size=64,
        dataset=dataset(given), subset_size=len(given.calibration()), scale_estimation=True,
    )  # fmt: skip
    weights: Counter[str] = Counter()
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() in (
            "u4",
            "i4",
            "u8",
            "i8",
        ):
            weights[node.get_element_type().get_type_name()] += int(np.prod(node.shape))
    note = "weights and zero points by type: " + ", ".join(
        f"{name} {count:,}" for name, count in weights.items()
    )
    return saved(given, model, "4 in groups of 64, convolutions and ends 8", "float", note)


def saved(given: Given, model: Any, weights: str, activations: str, note: str = "") -> Made:
    """OpenVINO's two files, and their logits in float32 arithmetic."""
    import openvino

    openvino.save_model(model, given.out / "model.xml")
    compiled = openvino.Core().compile_model(
        given.out / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )  # fmt: skip
    logits = np.array([compiled({INPUT: image[None]})[0].item() for image in given.test()])
    return Made(["model.xml", "model.bin"], weights, activations, "openvino", logits, note)


PEER = Peer(
    ("nncf", "openvino"),
    {"int8": int8, "int8_accurate": int8_accurate, "int8_onnx": int8_onnx, "int4": int4},
)

if __name__ == "__main__":
    serve("nncf", PEER)
