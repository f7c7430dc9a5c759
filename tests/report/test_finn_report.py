"""The check as a table and as JSON."""

from io import StringIO

from rich.console import Console

from brevitas_defakeq.export.finn.findings import Finding, unmappable
from brevitas_defakeq.report.finn_report import check_content, check_table, host_table

FINDINGS = [
    Finding(
        "stem", "Conv", "costs", "weight zero points: 4 bits instead of 3", "quantize with --target fpga", 1
    ),
    Finding("after stem", "Add", "cannot", "a sum whose operands have two scales, 1 and 2", "one quantizer"),
]


def printed(table) -> str:
    console = Console(width=200, record=True, file=StringIO())
    console.print(table)
    return console.export_text()


def test_what_cannot_be_mapped_stands_first_and_is_counted():
    text = printed(check_table(FINDINGS))
    assert "1 places cannot be mapped" in text and text.index("after stem") < text.index("4 bits instead")
    assert "zero points cost 1 bits" in text
    assert check_content(FINDINGS)["cannot"] == 1 and not check_content(FINDINGS)["maps"]
    assert check_content(FINDINGS[:1])["maps"] and unmappable(FINDINGS) == FINDINGS[1:]


def test_nothing_to_say():
    assert "every layer maps" in printed(check_table([]))


def test_what_was_written():
    host = {
        "name": "demo",
        "input": {"shape": [1, 3, 8, 8], "low": 0, "high": 255, "zero_point": 37, "scale": 0.5},
        "output": {"scale": [0.25], "bias": -1.0}, "agreement": {"largest": 1e-7, "images": 8, "ties": 0},
    }  # fmt: skip
    text = printed(host_table(host))
    assert "-37 to 218" in text and "1.0e-07" in text and "8 images" in text
