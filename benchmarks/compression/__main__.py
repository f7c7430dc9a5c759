"""Compress a detector to given sizes by every method, and measure each: one JSON a run, resumable.

    python -m benchmarks.compression --detector demo --bytes 10% 25%
    python -m benchmarks.compression --detector mobilenetv2_035 --calibration train.csv --test test.csv \\
        --bytes 176475 --option weights=mine.pth

``demo`` calibrates on and is tested with drawn faces. A run that has its JSON is not repeated; the table
(``README.md`` beside the JSON files) is written from what is there.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.compression.measured_run import METHODS, measured
from benchmarks.measures import by_dataset
from benchmarks.tables import markdown, reports
from brevitas_defakeq.artifact import float_bytes
from brevitas_defakeq.calibration_set import CalibrationSet, from_source, from_tensors
from brevitas_defakeq.config import DEFAULT_SAMPLES, DefakeQConfig, ReconstructionConfig
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.demo import drawn_calibration, drawn_test
from brevitas_defakeq.detectors.resolve import Detector, resolve
from brevitas_defakeq.run_inputs import require_preprocessing
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json


def target_bytes(text: str, whole: int) -> int:
    """``10%`` of ``whole`` bytes, or a number of bytes. Raises UserError for anything else.

    >>> target_bytes("10%", 2000), target_bytes("150", 2000)
    (200, 150)
    """
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = 0.0
    target = value * whole / 100 if text.endswith("%") else value
    if not 0 < target <= whole:
        raise UserError(f"--bytes {text}: give a number from 1 to {whole:,}, or a share such as 10%")
    return int(target)


def data_of(
    detector: Detector, options: argparse.Namespace, config: DefakeQConfig
) -> tuple[CalibrationSet, LabelledSet]:
    """Calibration and test images: drawn ones for ``demo``, otherwise from --calibration and --test."""
    preprocessing = require_preprocessing(detector)
    if options.calibration is None and options.test is None and options.detector == "demo":
        faces, labels = drawn_calibration(preprocessing, config.samples)
        return from_tensors(faces, labels, config.samples), drawn_test(preprocessing)
    if options.calibration is None or options.test is None:
        raise UserError("give --calibration and --test: folders with real/ and fake/, or CSV files")
    images = from_source(
        options.calibration, preprocessing, config.samples, seed=config.seed, on_corrupt="refuse"
    )
    return images, LabelledSet.from_source(options.test, preprocessing)


def run_name(detector: str, method: str, size: str, config: DefakeQConfig) -> str:
    """Of the JSON file; settings that are not the usual ones are in it."""
    standard, steps = DefakeQConfig.for_recipe("best"), config.reconstruction.iterations
    name = f"{detector}-{method}-{size.replace('%', 'percent')}-seed{config.seed}"
    name += f"-n{config.samples}" * (config.samples != standard.samples)
    return name + f"-i{steps}" * (steps != standard.reconstruction.iterations)


def table(out: Path) -> str:
    """Markdown from the JSON files, a row a run."""

    def cells(report: dict[str, Any]) -> list[str]:
        metrics, before = report["metrics"]["compressed"], report["metrics"]["before_reconstruction"]
        flips = metrics["fidelity"]["flips"]
        low, high = (100 * end for end in flips["interval"])
        return [
            report["task"]["detector"], report["task"]["method"].replace("_", " "),
            f"{report['size_bytes']['compressed']:,}", f"{100 * report['share_of_float']:.1f} %",
            f"{report['metrics']['float']['auc']:.4f}", f"{before['auc']:.4f}", f"{metrics['auc']:.4f}",
            f"{100 * metrics['auc_kept']:.1f} %", f"{100 * flips['share']:.1f} ({low:.1f} to {high:.1f}) %",
            f"{metrics['relative_error']:.4f}", f"{report['wall_seconds']:.0f}",
        ]  # fmt: skip

    columns = ["detector", "method", "bytes", "of float", "float AUC", "AUC before reconstruction", "AUC"]
    columns += ["AUC kept", "flips", "logit error", "s"]
    return markdown(columns, [cells(report) for report in reports(out).values()])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", required=True, help="as `defakeq quantize` takes it")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="weights, input_size, ..."
    )
    parser.add_argument("--bytes", nargs="+", required=True, help="176475, or 10%% of the float32 file")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=DEFAULT_SAMPLES, help="calibration images")
    parser.add_argument("--iterations", type=int, default=ReconstructionConfig().iterations, help="a block")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/compression"))
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    given = dict(pair.split("=", 1) for pair in options.option)
    detector = resolve(options.detector, **given)
    steps = ReconstructionConfig(iterations=options.iterations)
    config = DefakeQConfig.for_recipe(
        "best", seed=options.seed, samples=options.samples, reconstruction=steps
    )
    sizes = [target_bytes(text, float_bytes(detector.model)) for text in options.bytes]
    calibration, test = data_of(detector, options, config)
    parts = by_dataset([sample.dataset for sample in test.samples])
    for text, size in zip(options.bytes, sizes, strict=True):
        for method in options.method:
            name = run_name(detector.name, method, text, config)
            if not (options.out / f"{name}.json").exists():
                print(name, flush=True)
                row = measured(detector, calibration, test, parts, method, size, config)
                write_json(options.out / f"{name}.json", row)
    (options.out / "README.md").write_text(table(options.out))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"benchmarks.compression: {error}")
