"""``check_finn``: before any export, every layer that FINN cannot map, why, and what to change."""

from onnx import ModelProto

from brevitas_defakeq.export.finn.findings import Finding, unmappable
from brevitas_defakeq.export.finn.finn_profile import arrange_graph, rewrite_core
from brevitas_defakeq.export.finn.mapping_check import find_mapping_problems
from brevitas_defakeq.export.finn.mapping_rules import MAPPING_RULES, unmapped_operator


def check_graph(qonnx: ModelProto, target: str = "any") -> list[Finding]:
    """What is to be said of a faithful QONNX graph, in its order.

    Args:
        qonnx: one image [1, 3, H, W] -> logit, ``normalize_qonnx``.
        target: what the run was quantized for.
    """
    findings = find_mapping_problems(arrange_graph(qonnx), MAPPING_RULES, unmapped_operator, target)
    if not unmappable(findings):
        findings += [_whole(name) for name in rewrite_core(qonnx)[2]]
    return findings


def _whole(layer: str) -> Finding:
    return Finding(
        layer, "MatMul", "costs",
        "channels of two widths, all built at the wider: a sum or an attention's heads fix their order",
        "export --which quantized, which has one width",
    )  # fmt: skip
