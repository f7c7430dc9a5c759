"""Estimate what each layer costs on a board at each bit-width: the file of `defakeq quantize --costs`.

    python hw/costs.py MODEL.onnx --board ZCU104 --out costs.json [--fps N ...]

MODEL.onnx is the FINN profile of any run of the detector (its M_q), whatever the widths. The network is
converted once; then all weights get 2, 3, ... 8 bits (plus one for zero points), and FINN's estimators give
the cost of every layer, folded to each rate as by `hw/build.py`. The thresholds after a layer grow with its
width and are counted with it; costs that no width changes are `fixed`.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # the package `hw` instead of the files beside this one
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from brevitas_defakeq.haq.hardware_costs_file import COSTS_FORMAT_VERSION
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json
from hw.boards import BOARDS, Board, board_named
from hw.command_line import OneLineErrorParser, rate
from hw.finn_quirks import finn_versions, quiet_finn, require_finn
from hw.targets import check_target

BITS = (2, 3, 4, 5, 6, 7, 8)


def costs(path: Path, board: Board, rates: Sequence[float] = ()) -> dict:
    """The content of a cost file.

    Args:
        path: a FINN profile.
        rates: frames per second at the board's clock; none: the highest that the board allows at the run's
            widths.

    Raises:
        UserError: not a FINN profile, a layer without hardware, or a rate that no folding reaches.
    """
    check_target("estimate", board)
    require_finn()
    from hw.profile_layers import match_products, with_weight_width
    from hw.width_cost_table import WidthCostTable, fitting_rate, hardware_graph

    with quiet_finn():
        graph, layers = hardware_graph(path)
        products = match_products(graph, layers)
        tables = [WidthCostTable(rate, board, graph) for rate in rates or (fitting_rate(graph, board),)]
        for bits in BITS:
            wide, stretched = with_weight_width(graph, products, bits)
            for table in tables:
                table.add(wide, stretched)
    return {
        "format_version": COSTS_FORMAT_VERSION, "board": board.name, "part": board.part,
        "clock_mhz": board.clock_mhz, "bits": list(BITS),
        "model": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        "versions": finn_versions(),
        "layers": {
            layer.name: {"weight_shape": list(layer.weight_shape), "zero_point_bits": layer.zero_point_bits}
            for layer in layers
        },
        "tables": [table.content() for table in tables],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 after one line for a user error."""
    try:
        options = _parser().parse_args(arguments)
        write_json(options.out, costs(options.model, board_named(options.board), options.fps))
    except UserError as error:
        print(f"hw/costs.py: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    result = OneLineErrorParser(prog="hw/costs.py", description=__doc__.partition("\n")[0])
    result.add_argument("model", type=Path, metavar="MODEL.onnx", help="FINN profile")
    result.add_argument("--board", required=True, help=f"target board: {', '.join(BOARDS)}")
    result.add_argument("--out", required=True, type=Path, metavar="FILE", help="JSON file to write")
    result.add_argument(
        "--fps", type=rate, action="append", default=[], metavar="N",
        help="frames per second at the board's clock (default: the highest); repeat for further tables",
    )  # fmt: skip
    return result


if __name__ == "__main__":
    sys.exit(main())
