"""Brevitas' own post-training flow, ``brevitas_examples.imagenet_classification.ptq``.

With what its RESULTS_TORCHVISION_BEST_CONFIGS.csv names best for a ViT and a MobileNet with float scales per
channel: the layerwise backend, graph equalization of 20 iterations with merged biases, activations at the
99.999 % percentile, bias correction, GPTQ at 4 bits; and, not in that list, weight ranges of the least
squared error. Its learned rounding has the defaults of its command: layer by layer, 1,000 steps each.

ReLU6 is kept: its default makes it ReLU, with which the trained MobileNetV2 keeps 94 % of its AUC at 8 bits.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.peers.exchange import INPUT, OUTPUT, Given, Made, Peer, refusal, serve

_BATCH = 64
#: A quantized, calibrated model and the calibration batches: what changes its weights in place.
Refine = Callable[[Any, list], None]


def flow(given: Given, bits: int, refine: Refine | None = None) -> Made:
    import torch
    from brevitas.export import export_onnx_qcdq
    from brevitas.graph.quantize import preprocess_for_quantize
    from brevitas_examples.imagenet_classification.ptq.ptq_common import (
        apply_bias_correction,
        calibrate,
        quantize_model,
    )

    images = torch.from_numpy(given.calibration())
    batches = [(batch, None) for batch in images.split(_BATCH)]
    note = ""
    try:
        model = preprocess_for_quantize(
            of_one_image(given.module()), relu6_to_relu=False, equalize_iters=20, equalize_merge_bias=True,
            merge_bn=True,
        )  # fmt: skip
    except Exception as error:  # torch.fx's errors share no base
        model = of_one_image(given.module())
        note = f"without graph equalization: {refusal(error)}"
    quantized = quantize_model(
        model, "layerwise", weight_bit_width=bits, act_bit_width=8, bias_bit_width=32,
        weight_quant_granularity="per_channel", act_quant_percentile=99.999, act_quant_type="sym",
        scale_factor_type="float_scale", quant_format="int", weight_param_method="mse",
        layerwise_first_last_bit_width=8,
    ).eval()  # fmt: skip
    with torch.no_grad():
        quantized(images[:1])
    calibrate(batches, quantized)
    if refine:
        refine(quantized, batches)
    apply_bias_correction(batches, quantized)
    export_onnx_qcdq(
        quantized, images[:1], str(given.out / "model.onnx"), opset_version=17, dynamo=False,
        input_names=[INPUT], output_names=[OUTPUT],
    )  # fmt: skip
    return Made(["model.onnx"], f"{bits} per channel, first layer 8", "8", note=note)


def of_one_image(model: Any) -> Any:
    """The module without timm's optional arguments, which torch's tracers take for inputs of the graph."""
    from torch import Tensor, nn

    class OfOneImage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor) -> Tensor:
            return self.model(image)

    return OfOneImage().eval()


def w8(given: Given) -> Made:
    return flow(given, 8)


def w4(given: Given) -> Made:
    return flow(given, 4)


def w4_gptq(given: Given) -> Made:
    from brevitas_examples.imagenet_classification.ptq.ptq_common import apply_gptq

    return flow(
        given, 4, lambda model, batches: apply_gptq(batches, model, act_order=True, create_weight_orig=True)
    )


def w4_learned_round(given: Given) -> Made:
    from brevitas_examples.imagenet_classification.ptq.learned_round_utils import apply_learned_round
    from brevitas_examples.imagenet_classification.ptq.ptq_imagenet_args import create_args_parser

    options = create_args_parser().parse_args(["--learned-round", "hard_sigmoid"])
    return flow(given, 4, lambda model, batches: apply_learned_round(model, batches, options))


PEER = Peer(
    ("brevitas", "torch"), {"w8": w8, "w4": w4, "w4_gptq": w4_gptq, "w4_learned_round": w4_learned_round}
)

if __name__ == "__main__":
    serve("brevitas", PEER)
