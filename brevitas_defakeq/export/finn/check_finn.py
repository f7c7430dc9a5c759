"""``check_graph``: every layer that FINN cannot map, why, and what to change, before any export."""

from onnx import ModelProto

from brevitas_defakeq.export.finn.findings import Finding, unmappable
from brevitas_defakeq.export.finn.finn_profile import arrange_graph, rewrite_core
from brevitas_defakeq.export.finn.mapping_check import find_mapping_problems
from brevitas_defakeq.export.finn.mapping_rules import MAPPING_RULES, unmapped_operator


def check_graph(qonnx: ModelProto, target: str = "any") -> list[Finding]:
    """Findings of a QONNX graph, in node order.

    Args:
        qonnx: one image [1, 3, H, W] -> logit, as ``normalize_qonnx`` returns it.
        target: the target that the run was quantized for.
    """
    findings = find_mapping_problems(arrange_graph(qonnx), MAPPING_RULES, unmapped_operator, target)
    if not unmappable(findings):
        findings += [_unsplit_layer(name) for name in rewrite_core(qonnx).unsplit]
    return findings


def _unsplit_layer(layer: str) -> Finding:
    return Finding(
        layer, "MatMul", "costs",
        "channels of two widths are all built at the wider one: a sum or attention heads fix their order",
        "export --which quantized, which has one width",
    )  # fmt: skip
