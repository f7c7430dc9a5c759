"""AIMET on ONNX: simulated int8, AdaRound at 4 bits, mixed precision. It takes hours.

AdaRound has the 15,000 steps a layer that it recommends below 8 bits. Mixed precision is its greedy search
among 4-, 8- and 16-bit candidates, which stops where the score has fallen by ``_ALLOWED_DROP``; the score is
one minus the logit's mean squared error over its variance on calibration images. Logits are the simulation's.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.exchange import INPUT, Given, Made, Peer, serve

_STEPS = 15_000
_COMPARED = 64
_ALLOWED_DROP = 0.05


def simulation(given: Given, weights: str) -> Any:
    """Scales of weights a channel, as its ``default_config_per_channel``."""
    import aimet_onnx
    import onnx
    from aimet_onnx.common import quantsim_config

    config = Path(quantsim_config.__file__).parent / "default_config_per_channel.json"
    return aimet_onnx.QuantizationSimModel(
        onnx.load(given.onnx), param_type=weights, activation_type="int8", config_file=str(config)
    )  # fmt: skip


def logits_of(session: Any, images: np.ndarray) -> np.ndarray:
    return np.array([session.run(None, {INPUT: image[None]})[0].item() for image in images])


def saved(given: Given, sim: Any, weights: str, activations: str, note: str = "") -> Made:
    import onnx

    logits = logits_of(sim.session, given.test())
    onnx.save(sim.to_onnx_qdq(prequantize_constants=True), given.out / "model.onnx")
    return Made(["model.onnx"], weights, activations, "aimet", logits, note)


def w8(given: Given) -> Made:
    sim = simulation(given, "int8")
    sim.compute_encodings(given.feeds())
    return saved(given, sim, "8 per channel", "8")


def w4_adaround(given: Given) -> Made:
    import aimet_onnx

    sim = simulation(given, "int4")
    aimet_onnx.apply_adaround(sim, given.feeds(), num_iterations=_STEPS)
    sim.compute_encodings(given.feeds())
    return saved(given, sim, "4 per channel, AdaRound", "8")


def mixed(given: Given) -> Made:
    from aimet_onnx.common.defs import CallbackFunc, QuantizationDataType
    from aimet_onnx.mixed_precision import choose_mixed_precision
    from onnxruntime import InferenceSession

    images = given.calibration()[:_COMPARED]
    reference = logits_of(InferenceSession(str(given.onnx)), images)

    def score(session: Any, _: None) -> float:
        return 1 - float(np.mean((logits_of(session, images) - reference) ** 2) / reference.var())

    sim = simulation(given, "int8")
    sim.compute_encodings(given.feeds())
    kind = QuantizationDataType.int
    candidates = [
        ((activations, kind), (weights, kind)) for activations, weights in ((16, 8), (8, 8), (8, 4))
    ]
    calibrate = CallbackFunc(lambda session, _: logits_of(session, images))
    judged = CallbackFunc(score)
    choose_mixed_precision(
        sim, candidates, judged, judged, _ALLOWED_DROP, str(given.out), True, calibrate,
        use_all_amp_candidates=True,
    )  # fmt: skip
    constants = {tensor.name for tensor in sim.model.model.graph.initializer}
    quantizers = sim.qc_quantize_op_dict.items()
    widths = Counter(one.bitwidth for name, one in quantizers if one.enabled and name in constants)
    note = ", ".join(f"{count} weights of {bits} bits" for bits, count in sorted(widths.items()))
    return saved(given, sim, "4 and 8 per channel, its search", "8 and 16", note)


PEER = Peer(("aimet-onnx", "onnxruntime"), {"w8": w8, "mixed": mixed, "w4_adaround": w4_adaround})

if __name__ == "__main__":
    serve("aimet", PEER)
