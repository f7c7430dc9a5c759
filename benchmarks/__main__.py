"""Every method on the same detectors, calibration images and bytes.

    python -m benchmarks --suite quick      the main table on two detectors, about 20 minutes on two cores
    python -m benchmarks --suite full       everything; goes on where it was interrupted
    python -m benchmarks --suite real --data DATA   trained detectors on photographs
    python -m benchmarks --table            only write the page and the charts

A row that has its JSON is not measured again. ``docs/comparison.md`` and its charts are written from
the JSON files.
"""

import argparse
import gc
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.suite.compressed import run_compression
from benchmarks.suite.run import run
from benchmarks.suite.table import write_page
from benchmarks.suite.tasks import COMPRESSION, SUITES, Task, tasks
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "suite", ROOT / "docs" / "comparison.md"
CHARTS, PEERS = ROOT / "docs" / "charts", ROOT / "benchmarks" / "results" / "peers"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", choices=SUITES, default="quick")
    parser.add_argument("--data", type=Path, help="folder of the real detectors and photographs")
    parser.add_argument("--only", default="", help="part of a row's name, such as demo-best")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only write the page and the charts")
    parser.add_argument("--list", action="store_true", help="only name the rows that are left")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message="Computing zero point of output")  # Brevitas, every layer
    left = [
        task for task in tasks(options.suite)
        if options.only in task.name and not (RESULTS / f"{task.name}.json").exists()
    ]  # fmt: skip
    if options.list:
        print("\n".join(task.name for task in left))
        return
    if not options.table:
        measure(left, options.data)
    write_page(RESULTS, PEERS, PAGE, CHARTS)


def measure(left: list[Task], data: Path | None) -> None:
    """Run the tasks; an interrupted one is run again next time."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task("rows", total=len(left))
        for task in left:
            progress.update(bar, description=task.name)
            row = measured_row(task, data)
            write_json(RESULTS / f"{task.name}.json", row)
            flips = row["metrics"]["fidelity"]["flips"]["share"]
            progress.console.print(f"{task.name}: AUC {row['metrics']['auc']:.4f}, flips {100 * flips:.2f} %")
            progress.advance(bar)
            gc.collect()


def measured_row(task: Task, data: Path | None) -> dict[str, Any]:
    """The row of a task; other compression takes the bytes of ``best``, whose row comes first."""
    if task.method not in COMPRESSION:
        return run(task, data)
    best = RESULTS / f"{replace(task, method='best').name}.json"
    if not best.exists():
        raise UserError(f"{task.name} takes the bytes of {best.stem}; measure that first")
    return run_compression(task, data, json.loads(best.read_text())["bytes"]["weights"])


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("benchmarks: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
