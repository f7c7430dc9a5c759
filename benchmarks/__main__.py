"""Every method on the same detectors, calibration images and bytes.

    python -m benchmarks --suite quick --out mine   the main table on two detectors, 20 minutes on two cores
    python -m benchmarks --suite full               everything; goes on where it was interrupted
    python -m benchmarks --suite real --data DATA   trained detectors on photographs
    python -m benchmarks --table                    only write the page and the charts

A row that has its JSON in the folder is not measured again. Without ``--out`` that is
``benchmarks/results/suite``, and the page written from it is ``docs/comparison.md``.
"""

import argparse
import json
import multiprocessing
import signal
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.suite.compressed import run_compression
from benchmarks.suite.page import write_page
from benchmarks.suite.run import run
from benchmarks.suite.tasks import COMPRESSION, SUITES, Task, tasks
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "results" / "peers"


@dataclass(frozen=True)
class Folders:
    """Where rows, page and charts are."""

    rows: Path
    page: Path
    charts: Path

    def file(self, task: Task) -> Path:
        """Of a task's row."""
        return self.rows / f"{task.name}.json"


COMMITTED = Folders(
    ROOT / "benchmarks" / "results" / "suite", ROOT / "docs" / "comparison.md", ROOT / "docs" / "charts"
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", choices=SUITES, default="quick")
    parser.add_argument("--data", type=Path, help="folder of the real detectors and photographs")
    parser.add_argument("--out", type=Path, help="folder of rows, page and charts")
    parser.add_argument("--only", default="", help="part of a row's name, such as resnet-best")
    parser.add_argument("--jobs", type=int, default=2, help="rows measured at once, one thread each")
    parser.add_argument("--table", action="store_true", help="only write the page and the charts")
    parser.add_argument("--list", action="store_true", help="only name the rows that are left")
    return parser.parse_args()


def main() -> None:
    options = parse()
    out = options.out
    folders = Folders(out / "rows", out / "comparison.md", out / "charts") if out else COMMITTED
    left = [
        task for task in tasks(options.suite)
        if options.only in task.name and not folders.file(task).exists()
    ]  # fmt: skip
    if options.list:
        print("\n".join(task.name for task in left))
        return
    if not options.table:
        # Other compression takes the bytes of ``best``.
        measure([task for task in left if task.method not in COMPRESSION], options, folders)
        measure([task for task in left if task.method in COMPRESSION], options, folders)
    write_page(folders.rows, PEERS, folders.page, folders.charts)


def measure(left: list[Task], options: argparse.Namespace, folders: Folders) -> None:
    """Run the tasks in processes of their own; an interrupted one is run again next time."""
    folders.rows.mkdir(parents=True, exist_ok=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    spawn = multiprocessing.get_context("spawn")
    with (
        Progress(*columns) as progress,
        ProcessPoolExecutor(options.jobs, mp_context=spawn, initializer=start_worker) as pool,
    ):
        bar = progress.add_task("rows", total=len(left))
        rows = {pool.submit(measured_row, task, options.data, folders): task for task in left}
        try:
            for done in as_completed(rows):
                task, row = rows[done], done.result()
                write_json(folders.file(task), row)
                progress.console.print(f"{task.name}: {summary(row)}")
                progress.advance(bar)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def start_worker() -> None:
    """One thread; no warning of Brevitas for every layer, and no traceback on Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Computing zero point of output")


def summary(row: dict[str, Any]) -> str:
    if "refused" in row:
        return row["refused"]
    flips = row["metrics"]["fidelity"]["flips"]["share"]
    return f"AUC {row['metrics']['auc']:.4f}, flips {100 * flips:.2f} %, {row['seconds']['whole']:.0f} s"


def measured_row(task: Task, data: Path | None, folders: Folders) -> dict[str, Any]:
    """The row of a task; other compression takes the bytes of ``best``, whose row comes first."""
    if task.method not in COMPRESSION:
        return run(task, data)
    best = folders.file(replace(task, method="best"))
    if not best.exists():
        raise UserError(f"{task.name} takes the bytes of {best.stem}; measure that first")
    try:
        return run_compression(task, data, json.loads(best.read_text())["bytes"]["weights"])
    except UserError as error:
        return {"task": asdict(task), "refused": str(error)}


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("benchmarks: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
