"""LUTs that a LUT budget saves over average bits at equal AUC: ``python -m benchmarks.hardware_budgets``.

Each row of average bits is one run; beside it are the runs with the fewest estimated LUTs whose AUC is as
good (``AS_GOOD``), found by bisection: LUTs alone bounded, and LUTs while DSPs and BRAMs stay within that
row's. All runs share detector, calibration, settings, test faces and costs; only the budget differs. With
``--design`` a detector is measured, half an hour on one core with the extra ``fpga``; without, the table of
all is written anew.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tables import markdown, reports
from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.haq.hardware_costs import HardwareCosts
from brevitas_defakeq.haq.hardware_costs_file import read_costs
from brevitas_defakeq.haq.solver import assign
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.utils.files import write_bytes, write_json

RESULTS = Path(__file__).parent / "results" / "hardware_budgets"
#: Loss of AUC that counts as none: a fifth of the half-width of its 95 % interval on 2,000 faces.
AS_GOOD = 0.001
BISECTIONS = 3
#: What joins the LUT budget, kept at what the row of average bits takes.
VARIANTS = {"lut": (), "lut, dsp, bram": ("dsp", "bram")}
WIDTHS = (2, 3, 4, 5, 6, 7, 8)


@dataclass
class Bench:
    """One detector, one table of costs, one set of test faces; ``run(**budget)`` quantizes."""

    run: Callable[..., QuantizedDetector]
    costs: HardwareCosts

    def measured(self, **budget) -> dict:
        """A run within budgets: its AUC, and what its widths take."""
        result = self.run(**budget)
        return {
            "budget": result.report["budget"], "auc": result.report["metrics"]["quantized"]["auc"],
            "average_bits": result.report["average_bits"], "bits": result.bits,
            **self.costs.totals(self.costs.tables[0], result.bits),
        }  # fmt: skip

    def fewest_luts(self, row: dict, kept: tuple[str, ...]) -> dict:
        """The run with the fewest LUTs whose AUC is as good as the row's; the row itself where none is."""
        limits = {name: row[name] for name in kept}
        low, high, best, tried = self._least_luts(limits), row["lut"], row, []
        budget = low
        for _ in range(BISECTIONS + 1):
            found = self.measured(budget={"lut": float(np.ceil(budget)), **limits})
            tried.append({name: found[name] for name in ("budget", "auc", "lut", "dsp", "bram")})
            if found["auc"] < row["auc"] - AS_GOOD:
                low = budget
            else:
                best, high = min(best, found, key=lambda one: one["lut"]), min(high, found["lut"])
            if high <= low + 1:
                break
            budget = (low + high) / 2
        return {**best, "tried": tried}

    def _least_luts(self, limits: dict[str, float]) -> float:
        """The fewest LUTs that any widths take within the limits."""
        table, layers = self.costs.tables[0], list(self.costs.shapes)
        lut, *others = self.costs.constraints(table, {"lut": np.inf, **limits}, layers, WIDTHS)
        return lut.fixed + lut.layers_take(assign(lut.usage, others))


def compare(bench: Bench, averages: list[float]) -> list[dict]:
    """A group for each average: its own run, and the best of each variant."""
    rows = []
    for average in averages:
        row = bench.measured(average_bits=average)
        rows.append(
            {"average_bits": row} | {name: bench.fewest_luts(row, kept) for name, kept in VARIANTS.items()}
        )
        for name, found in rows[-1].items():
            print(f"{average:g} {name}: AUC {found['auc']:.4f}, {found['lut']:.0f} LUT", flush=True)
    return rows


def table(name: str, found: dict) -> str:
    """The Markdown of one detector."""
    columns = ("budget", "bits a weight", "AUC", "LUT", "of average bits'", "DSP", "BRAM18")
    rows = []
    for group in found["rows"]:
        first = group["average_bits"]
        for kind, row in group.items():
            label = f"{first['budget']:g} bits on average" if row is first else kind
            rows.append((
                label, f"{row['average_bits']:.2f}", f"{row['auc']:.4f}", f"{row['lut']:,.0f}",
                f"{100 * row['lut'] / first['lut']:.1f} %", f"{row['dsp']:.0f}", f"{row['bram']:.0f}",
            ))  # fmt: skip
    title = f"## {name}: {found['board']}, {found['fps']:g} frames a second"
    return (
        f"{title}\n\nFloat AUC {found['float_auc']:.4f} on {found['test_images']:,} drawn faces.\n\n"
        + markdown(columns, rows)
    )


def measure(options: argparse.Namespace) -> None:
    """All runs of one detector, written as JSON."""
    from brevitas_defakeq.export.finn.export_finn import export_finn
    from hw.boards import board_named
    from hw.costs import costs as costs_of
    from hw.designs.design import DESIGNS, configuration, float_detector, quantized, test_faces

    design = DESIGNS[options.design]
    detector = float_detector(design, options.work)
    test = LabelledSet.from_tensors(*test_faces(options.test_images))
    file = options.work / f"{options.design}-{options.board}-{options.fps:g}.json"

    def run(**budget) -> QuantizedDetector:
        config = configuration(design, options.iterations, candidate_bits=WIDTHS, **budget)
        return quantized(detector, config, test, costs=file if config.budget else None)

    first = run(average_bits=3)
    if not file.exists():
        profile = options.work / f"{options.design}-profile"
        export_finn(first, profile)
        write_json(file, costs_of(profile / "model.onnx", board_named(options.board), [options.fps]))
    costs = read_costs(file)
    rows = compare(Bench(run, costs), options.averages)
    write_json(
        RESULTS / f"{options.design}.json",
        {
            "board": costs.board, "fps": options.fps, "test_images": options.test_images,
            "float_auc": first.report["metrics"]["float"]["auc"], "as_good": AS_GOOD,
            "config": first.config.to_dict(), "rows": rows, "costs_sha256": costs.digest,
            "provenance": provenance(first.config.seed),
        },
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--design", choices=("chain", "encoder"), help="measure it; else the table alone")
    parser.add_argument(
        "--work", type=Path, default=Path("designs-work"), help="keeps float weights and costs"
    )
    parser.add_argument("--board", default="Pynq-Z1")
    parser.add_argument("--fps", type=float, default=500)
    parser.add_argument("--averages", type=float, nargs="+", default=[2.25, 3, 4])
    parser.add_argument("--iterations", type=int, default=100, help="steps a block")
    parser.add_argument("--test-images", type=int, default=2000)
    options = parser.parse_args()
    if options.design:
        measure(options)
    text = "\n".join(table(name, found) for name, found in reports(RESULTS).items())
    write_bytes(RESULTS / "README.md", (HEAD + text).encode())


HEAD = """# Budgets of LUTs against average bits

Written by `benchmarks/hardware_budgets.py`. LUT, DSP and BRAM are FINN's estimates (`hw/costs.py`), without
FIFOs and width converters, and lower bounds: its RTL products count no LUT. Beside each row of average bits
are the runs with the fewest LUTs whose AUC is at most 0.001 lower: with LUTs alone bounded, and with DSPs
and BRAMs held at what that row takes. FINN builds products from DSPs from 4 bits on, and keeps a layer's
thresholds in LUTs or block RAM by the width of its sums; a budget of LUTs alone takes more of those two.

"""


if __name__ == "__main__":
    main()
