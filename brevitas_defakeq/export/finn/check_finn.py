"""``check_finn``: before any export, every layer that FINN cannot map, why, and what to change."""

from onnx import ModelProto

from brevitas_defakeq.export.finn.findings import Finding, cannot
from brevitas_defakeq.export.finn.finn_profile import arranged, rewritten
from brevitas_defakeq.export.finn.mapping_check import walk
from brevitas_defakeq.export.finn.mapping_rules import RULES, unknown


def check_graph(qonnx: ModelProto, target: str = "any") -> list[Finding]:
    """What is to be said of a faithful QONNX graph, in its order.

    Args:
        qonnx: one image [1, 3, H, W] -> logit, ``normalized``.
        target: what the run was quantized for.
    """
    findings = walk(arranged(qonnx), RULES, unknown, target)
    if not cannot(findings):
        findings += [_whole(name) for name in rewritten(qonnx)[2]]
    return findings


def _whole(layer: str) -> Finding:
    return Finding(
        layer, "MatMul", "costs",
        "channels of two widths, all built at the wider: a sum or an attention's heads fix their order",
        "export --which quantized, which has one width",
    )  # fmt: skip
