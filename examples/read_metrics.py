"""Read the metrics of a run: ``python examples/read_metrics.py [RUN]``, a minute.

RUN is a run folder made with test data, such as ``defakeq-demo``; without it a small run is made first.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from brevitas_defakeq import DefakeQConfig, quantize
from brevitas_defakeq.demo import drawn_calibration, drawn_test
from brevitas_defakeq.detectors.resolve import resolve


def make_run(out: Path, *, count: int = 32, tests: int = 120, iterations: int = 10) -> None:
    """Quantize the shipped detector and report on drawn faces."""
    detector = resolve("demo")
    images, labels = drawn_calibration(detector.preprocessing, count)
    test = drawn_test(detector.preprocessing, in_domain=tests, cross_domain=tests)
    config = DefakeQConfig(average_bits=3.0, samples=count)
    config = replace(
        config,
        reconstruction=replace(config.reconstruction, iterations=iterations),
        final=replace(config.final, steps=iterations),
    )
    quantize(detector, images, config, labels=labels, test=test, out=out)


def print_metrics(run: Path) -> None:
    """By variant: AUC with its interval, size, AUC by dataset, share of verdicts as float, and flips."""
    report = json.loads((run / "report.json").read_text())
    sizes = report["size_bytes"]
    for variant, metrics in report["metrics"].items():
        low, high = metrics["auc_interval"]
        share = f", {100 * sizes[variant] / sizes['float']:.1f} % of the size" if variant in sizes else ""
        print(f"{variant}: AUC {metrics['auc']:.4f} ({low:.4f} to {high:.4f}){share}")
        for name, part in metrics["per_dataset"].items():
            print(f"    {name}: AUC {part['auc']:.4f}, {part['n']} images")
        fidelity = metrics["fidelity"]
        print(f"    verdicts as float: {100 * fidelity['verdict_agreement']:.1f} %")
        if "flips" in fidelity:
            flips, (low, high) = fidelity["flips"], fidelity["flips"]["interval"]
            print(
                f"    flips: {flips['count']} of {flips['n']} images, {100 * low:.2f} to {100 * high:.2f} %"
            )


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("example-run")
    if not (folder / "report.json").exists():
        make_run(folder)
    print_metrics(folder)
