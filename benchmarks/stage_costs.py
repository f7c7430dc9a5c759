"""Time, peak memory and forward passes of every stage, for DeiT-Tiny, Small and Base.

    python -m benchmarks.stage_costs [--only deit_tiny] [--threads 1] [--table]

The default recipe on 256 drawn faces; weights are random, neither time nor memory depends on them. Small and
Base are run with two of their twelve blocks; the time of twelve is six times theirs, an upper bound, for
patches and head are counted six times. Peak memory is that of two blocks. A pass is all images through the
whole network once; forward and backward are three. Linux only.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from benchmarks.tables import markdown, reports
from brevitas_defakeq import DefakeQConfig
from brevitas_defakeq.calibration_set import from_tensors
from brevitas_defakeq.demo import drawn_calibration
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.quantization_request import prepare_request
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.run_inputs import require_preprocessing
from brevitas_defakeq.utils.files import write_json

OUT = Path(__file__).parent / "results" / "stage_costs"
DEPTH = 12
#: Blocks that are run.
BLOCKS = {"deit_tiny": 12, "deit_small": 2, "deit_base": 2}


@dataclass(kw_only=True)
class MeasuredJob(Job):
    """A run that also keeps the peak memory of every stage, in bytes."""

    peak_bytes: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        with super().stage(name):
            yield
        self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), peak_memory())


def peak_memory() -> int:
    """Of this process since its peak was reset, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def measure(name: str) -> dict[str, Any]:
    """The row of one detector, ready for JSON."""
    detector = resolve(name, model_args={"depth": BLOCKS[name]})
    config = DefakeQConfig.for_recipe("best")
    images, labels = drawn_calibration(require_preprocessing(detector), config.samples)
    calibration = from_tensors(images, labels, config.samples)
    request = prepare_request(detector, calibration, config, device=torch.device("cpu"))
    plain = request.job(Checkpoint(None, {}))
    job = MeasuredJob(**{entry.name: getattr(plain, entry.name) for entry in fields(Job)})
    request.carry_out(job)
    return {
        "detector": name, "blocks": BLOCKS[name], "samples": config.samples,
        "parameters": sum(parameter.numel() for parameter in detector.model.parameters()),
        "seconds": job.seconds, "peak_bytes": job.peak_bytes,
        "image_passes": job.meter.by_stage, "provenance": provenance(config.seed),
    }  # fmt: skip


def passes_of(row: dict[str, Any]) -> dict[str, float]:
    """Float passes of the whole network over all images, by stage; matching and captures are the blocks'."""
    passes: dict[str, float] = {}
    for part, images in row["image_passes"].items():
        stage = part if part in row["seconds"] else "reconstruct"
        passes[stage] = passes.get(stage, 0.0) + images / row["samples"]
    return passes


def table(out: Path) -> str:
    """Markdown from the JSON files."""
    lines = []
    for row in reports(out).values():
        factor = DEPTH / row["blocks"]
        stages, passes = row["seconds"], passes_of(row)
        for stage, seconds in stages.items():
            lines.append([
                row["detector"], stage, f"{factor * seconds / 60:.1f}",
                f"{row['peak_bytes'][stage] / 1e9:.2f}", f"{passes.get(stage, 0):.1f}", str(row["blocks"]),
            ])  # fmt: skip
        lines.append([
            row["detector"], "**all**", f"{factor * sum(stages.values()) / 60:.1f}",
            f"{max(row['peak_bytes'].values()) / 1e9:.2f}", f"{sum(passes.values()):.1f}", str(row["blocks"]),
        ])  # fmt: skip
    return markdown(("detector", "stage", "minutes", "peak GB", "passes", "blocks run"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=BLOCKS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in [] if options.table else [options.only] if options.only else BLOCKS:
        if not (OUT / f"{name}.json").exists():
            OUT.mkdir(parents=True, exist_ok=True)
            write_json(OUT / f"{name}.json", measure(name))
            print(name, flush=True)
    (OUT / "README.md").write_text(table(OUT))


if __name__ == "__main__":
    main()
