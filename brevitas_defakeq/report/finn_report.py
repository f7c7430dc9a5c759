"""What ``defakeq export --format finn`` shows: the check, layer by layer, and the profile's two ends."""

from collections.abc import Sequence

from rich.table import Table

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.export.finn.findings import Finding, unmappable
from brevitas_defakeq.report.terminal import show
from brevitas_defakeq.utils.errors import UserError

_WORDS = {"cannot": "cannot be mapped", "costs": "costs", "needs": "needs"}


def check_mapping(result: QuantizedDetector, form: str, *, as_json: bool) -> None:
    """Show the check of a run; status 2 where something cannot be mapped."""
    from brevitas_defakeq.export.finn.export_finn import check_finn

    findings = check_finn(result, variant=form)
    show(check_content(findings), check_table(findings), as_json=as_json)
    refused = unmappable(findings)
    if refused:
        raise UserError(f"{len(refused)} places cannot be mapped to FINN, the first is {refused[0].line()}")


def check_content(findings: Sequence[Finding]) -> dict:
    """The check as JSON: whether everything maps, and what was found, in the graph's order."""
    refused = unmappable(findings)
    return {
        "maps": not refused,
        "cannot": len(refused),
        "extra_bits": sum(finding.extra_bits for finding in findings),
        "findings": [finding.to_dict() for finding in findings],
    }


def check_table(findings: Sequence[Finding]) -> Table:
    """One row a finding; what cannot be mapped stands first."""
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


def host_table(host: dict) -> Table:
    """What was written, and how well it agrees."""
    table = Table(title=f"{host['name']} for FINN")
    table.add_column("the host's part")
    table.add_column("value", justify="right")
    given, back = host["input"], host["output"]
    rows = {
        "image": "x".join(map(str, given["shape"])),
        "integers": f"{given['low'] - given['zero_point']} to {given['high'] - given['zero_point']}",
        "input scale": f"{given['scale']:.6g}",
        "input zero point": str(given["zero_point"]),
        "output scale": ", ".join(f"{scale:.6g}" for scale in back["scale"]),
        "output bias": f"{back['bias']:.6g}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    checked = host["agreement"]
    if checked:
        table.caption = (
            f"off by {checked['largest']:.1e} of the outputs' range at most on {checked['images']} images"
        )
    return table
