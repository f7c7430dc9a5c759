"""What each layer costs on a board at each width: the file that `defakeq quantize --budget --costs` takes.

    python hw/costs.py MODEL.onnx --board ZCU104 --out costs.json [--fps N ...]

MODEL.onnx is the FINN profile of any run of the detector (its M_q), whatever the widths. The network is
converted once; then all its weights get 2, 3, ... 8 bits (and the bit of their zero points), and FINN's own
functions say what every layer takes, folded to each rate as `hw/build.py` does it. The thresholds that a
layer's sums go through grow with its width and are counted with it; what does not change is `fixed`.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

if __name__ == "__main__":  # the package `hw` instead of the files beside this one
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json
from hw.boards import BOARDS, Board, board_named
from hw.command_line import OneLineErrorParser, rate
from hw.finn_quirks import quiet_finn, require_finn
from hw.targets import check_target

COSTS_FORMAT_VERSION = 1
BITS = (2, 3, 4, 5, 6, 7, 8)
_PACKAGES = ("finn-plus", "qonnx")


def costs(path: Path, board: Board, rates: Sequence[float] = ()) -> dict:
    """The content of a file of costs.

    Args:
        path: a FINN profile.
        rates: frames a second at the board's clock; none: as many as the board allows at the run's widths.

    Raises:
        UserError: no FINN profile, a layer without hardware, or a rate that no folding reaches.
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
        "versions": {name: version(name) for name in _PACKAGES},
        "layers": {
            layer.name: {"weight_shape": list(layer.weight_shape), "zero_point_bits": layer.zero_point_bits}
            for layer in layers
        },
        "tables": [table.content() for table in tables],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0; 2 with one line for what the user can mend."""
    try:
        options = _parser().parse_args(arguments)
        write_json(options.out, costs(options.model, board_named(options.board), options.fps))
    except UserError as error:
        print(f"hw/costs.py: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    made = OneLineErrorParser(prog="hw/costs.py", description=__doc__.partition("\n")[0])
    made.add_argument("model", type=Path, metavar="MODEL.onnx", help="a FINN profile")
    made.add_argument("--board", required=True, help=", ".join(BOARDS))
    made.add_argument("--out", required=True, type=Path, metavar="FILE", help="the JSON file to write")
    made.add_argument(
        "--fps", type=rate, action="append", default=[], metavar="N",
        help="frames a second at the board's clock; again for a second table, from which a budget chooses",
    )  # fmt: skip
    return made


if __name__ == "__main__":
    sys.exit(main())
