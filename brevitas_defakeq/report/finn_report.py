"""Tables of ``defakeq export --format finn``: the check, layer by layer, and the host's arithmetic."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.export.finn.findings import Finding, unmappable
from brevitas_defakeq.report.terminal import show
from brevitas_defakeq.utils.errors import UserError

_WORDS = {"cannot": "cannot be mapped", "costs": "costs", "needs": "needs"}


def check_mapping(result: QuantizedDetector, variant: str, *, as_json: bool) -> None:
    """Show the check of a run; UserError if something cannot be mapped."""
    from brevitas_defakeq.export.finn.export_finn import check_finn

    findings = check_finn(result, variant=variant)
    show(check_content(findings), check_table(findings), as_json=as_json)
    refused = unmappable(findings)
    if refused:
        raise UserError(f"{len(refused)} places cannot be mapped to FINN, the first is {refused[0].line()}")


def check_content(findings: Sequence[Finding]) -> dict[str, Any]:
    """The check as JSON: whether everything maps, and what was found, in the graph's order."""
    refused = unmappable(findings)
    return {
        "maps": not refused,
        "cannot": len(refused),
        "extra_bits": sum(finding.extra_bits for finding in findings),
        "findings": [finding.to_dict() for finding in findings],
    }


def check_table(findings: Sequence[Finding]) -> Table:
    """One row a finding; what cannot be mapped comes first."""
    found = check_content(findings)
    title = (
        "every layer maps to FINN" if found["maps"] else f"{found['cannot']} places cannot be mapped to FINN"
    )
    table = Table(title=title, show_lines=True)
    for column in ("layer", "", "why", "what to change"):
        table.add_column(column)
    for kind, word in _WORDS.items():
        for finding in findings:
            if finding.kind == kind:
                table.add_row(finding.layer, word, finding.problem, finding.change)
    if found["extra_bits"]:
        table.caption = (
            f"zero points cost {found['extra_bits']} bits in all, one number of each layer counted"
        )
    return table


def host_table(host: dict[str, Any]) -> Table:
    """What was written, and how well it agrees."""
    table = Table(title=f"{host['name']} for FINN")
    table.add_column("the host's part")
    table.add_column("value", justify="right")
    source, output = host["input"], host["output"]
    rows = {
        "image": "x".join(map(str, source["shape"])),
        "integers": f"{source['low'] - source['zero_point']} to {source['high'] - source['zero_point']}",
        "input scale": f"{source['scale']:.6g}",
        "input zero point": str(source["zero_point"]),
        "output scale": ", ".join(f"{scale:.6g}" for scale in output["scale"]),
        "output bias": f"{output['bias']:.6g}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    checked = host["agreement"]
    if checked:
        table.caption = (
            f"off by {checked['largest']:.1e} of the outputs' range at most on {checked['images']} images"
        )
    return table
