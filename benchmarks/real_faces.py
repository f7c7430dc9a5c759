"""Real faces, real detectors: every method at every budget, one JSON a run, resumable.

    python -m benchmarks.real_faces DATA [--group main parts veft low] [--only mobilenetv2_035]

DATA is a folder with ``faces256/`` (``train.csv``, ``test.csv``, the two fair pairs as CSV) and ``weights/``.
``train.csv`` calibrates, ``test.csv`` and the pairs only report. A run that has its JSON is not repeated; the
tables (``README.md`` beside the JSON files) are written from what is there, with ``--table`` nothing else.
"""

import argparse
import gc
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.methods import METHODS, PARTS, VEFT, configuration
from benchmarks.real_detectors import DETECTORS, fair_pairs
from benchmarks.tables import reports
from brevitas_defakeq.api import quantize
from brevitas_defakeq.calibration_set import from_source
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.evaluation.bootstrap import auc_interval
from brevitas_defakeq.evaluation.metrics import auc
from brevitas_defakeq.evaluation.predict import observe_all
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.quantization_request import prepare_request
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.utils.files import write_json

TRAINED = ("mobilenetv2_035", "hybrid")
#: average bits -> seeds
BUDGETS = {3.0: (0, 1, 2), 2.25: (0, 1, 2), 2.5: (0,), 4.0: (0,), 2.0: (0,)}
SEEDS_OF_BEST = {2.5: (0, 1, 2)}  # that budget has a promise of its own
#: Without HAQ these are what 2.25 bits are: 2 bits in every layer, the same run.
SAME_WITHOUT_HAQ = (2.5, 2.0)
BASE = "best, no last pass"


@dataclass(frozen=True)
class Task:
    """One run of the benchmark."""

    detector: str
    method: str
    bits: float
    seed: int = 0
    activation_bits: int = 8
    samples: int = 256
    three_levels: bool = False  # 1.6 bits among the candidates

    @property
    def name(self) -> str:
        extras = ("-1.6" * self.three_levels, f"-a{self.activation_bits}" * (self.activation_bits != 8))
        extras += (f"-n{self.samples}" * (self.samples != 256),)
        method = re.sub(r"[^a-z0-9.]+", "_", self.method.lower())
        return f"{self.detector}-{method}-{self.bits:g}-seed{self.seed}{''.join(extras)}"

    def config(self) -> DefakeQConfig:
        widths = (2.0, 3.0, 4.0, 6.0, 8.0)
        return configuration(
            self.method if self.method in METHODS else "paper", average_bits=self.bits, seed=self.seed,
            activation_bits=self.activation_bits, samples=self.samples,
            candidate_bits=(1.6, *widths) if self.three_levels else widths,
        )  # fmt: skip


def main_tasks() -> Iterator[Task]:
    """The method, the baselines and the ablations at every budget; the most wanted first."""
    for method in ("best", "uniform", "paper", "no_haq", "no_veft"):
        for bits, seeds in (BUDGETS | SEEDS_OF_BEST if method == "best" else BUDGETS).items():
            if method == "no_haq" and bits in SAME_WITHOUT_HAQ:
                continue
            yield from (Task(detector, method, bits, seed) for seed in seeds for detector in TRAINED)
        yield Task("classnseg", method, 3.0)


def parts_tasks() -> Iterator[Task]:
    """Each part of ``best`` taken out."""
    yield from (Task("mobilenetv2_035", part, 2.25) for part in ("best", *PARTS))


def veft_tasks() -> Iterator[Task]:
    """Forms of VEFT, then the likeliest ones where it might matter more."""
    for seed in (0, 1):
        yield from (Task("mobilenetv2_035", method, 2.25, seed) for method in (BASE, *VEFT))
    for method in (BASE, "VEFT gamma2 .05", "VEFT masks only", "VEFT alignment only"):
        yield Task("mobilenetv2_035", method, 3.0, activation_bits=4)
        yield Task("mobilenetv2_035", method, 2.25, samples=32)
        yield Task("plain_vit", method, 2.25)


def low_tasks() -> Iterator[Task]:
    """How low the average can go, three levels (1.6 bits) among the candidates."""
    for bits in (2.25, 2.12, 2.0, 1.9, 1.8, 1.7):
        yield from (Task(detector, "best", bits, three_levels=True) for detector in TRAINED)


GROUPS = {"main": main_tasks, "parts": parts_tasks, "veft": veft_tasks, "low": low_tasks}


def run(task: Task, data: Path, out: Path) -> None:
    """Quantize, score the test images and the pairs, write ``<name>.json``."""
    detector = DETECTORS[task.detector](data)
    start = time.perf_counter()
    if task.method == "uniform":
        models, observer, report = uniform(detector, data, task)
        thresholds = {}
    else:
        result = quantize(detector, data / "faces256/train.csv", task.config())
        models, observer = {"quantized": result.quantized, "mixed": result.mixed}, result.observer
        report, thresholds = result.report, result.report["threshold"]
    seconds = time.perf_counter() - start
    test = LabelledSet.from_source(data / "faces256/test.csv", detector.preprocessing)
    observed = observe_all({"float": detector.model.eval(), **models}, observer, test.batches())
    kept = ("average_bits", "size_bytes", "seconds", "forward_passes", "provenance")
    content = {"task": asdict(task), "wall_seconds": seconds}
    content |= {key: report[key] for key in kept if key in report}
    scores = {name: seen.scores for name, seen in observed.items()}
    content["metrics"] = metrics_of(scores, test, data, thresholds)
    write_json(out / f"{task.name}.json", content)


def uniform(detector: Detector, data: Path, task: Task) -> tuple[dict, Observer, dict]:
    """Round to nearest: the integer width at or below the average, MSE ranges, 8-bit activations."""
    config = task.config()
    train = data / "faces256/train.csv"
    images = from_source(train, detector.preprocessing, config.samples, seed=task.seed, on_corrupt="refuse")
    request = prepare_request(detector, images, config, device=torch.device("cpu"))
    width = int(task.bits)
    report = {"average_bits": width, "provenance": provenance(task.seed)}
    model = request.job(Checkpoint(None, {})).round_to_nearest(width)
    return {"quantized": model}, request.observer, report


def metrics_of(scores: dict[str, np.ndarray], test: LabelledSet, data: Path, thresholds: dict) -> dict:
    """Pooled and pair AUC with intervals, verdicts, rank correlation, error of the logit."""
    labels = np.array([sample.label for sample in test.samples])
    pairs = list(fair_pairs(test.samples, data).values())
    reference = scores["float"]
    ranks = {name: np.argsort(np.argsort(values)) for name, values in scores.items()}
    result = {}
    for name, values in scores.items():
        each = [auc(labels[pair], values[pair]) for pair in pairs]
        verdicts = (values > thresholds.get(name, 0.0)) == (reference > 0)
        result[name] = {
            "auc": auc(labels, values),
            "auc_interval": list(auc_interval(labels, values)),
            "pairs": each,
            "pairs_mean": float(np.mean(each)),
            "pair_intervals": [list(auc_interval(labels[pair], values[pair])) for pair in pairs],
            "verdict_agreement": float(np.mean(verdicts)),
            "verdict_agreement_at_zero": float(np.mean((values > 0) == (reference > 0))),
            "rank_correlation": float(np.corrcoef(ranks[name], ranks["float"])[0, 1]),
            "relative_error": float(np.mean((values - reference) ** 2) / reference.var()),
        }
    return result


def row(name: str, reports: list[dict]) -> str:
    """One line of a table; several seeds as their mean."""

    def mean(key: str, variant: str = "quantized") -> float:
        return float(np.mean([report["metrics"][variant][key] for report in reports]))

    share = [100 * mean(key) / mean(key, "float") for key in ("auc", "pairs_mean")]
    sizes = [r["size_bytes"]["quantized"] / r["size_bytes"]["float"] for r in reports if "size_bytes" in r]
    size = f"{100 * np.mean(sizes):.1f} %" if sizes else ""
    return (
        f"| {name} | {mean('auc'):.3f} | {mean('pairs_mean'):.3f} | {share[0]:.1f} / {share[1]:.1f} % "
        f"| {100 * mean('verdict_agreement_at_zero'):.1f} % | {100 * mean('verdict_agreement'):.1f} % "
        f"| {mean('rank_correlation'):.3f} "
        f"| {mean('relative_error'):.4f} | {size} | {np.mean([r['wall_seconds'] for r in reports]):.0f} "
        f"| {len(reports)} |"
    )


def tables(out: Path) -> str:
    """Markdown from the JSON files: a table a group, a row a detector, budget and method.

    "verdicts" are those that are equal at threshold 0, "carried" at the thresholds the run carries over.
    """
    found = reports(out)
    head = "| detector | budget | method | AUC | pairs | of float | verdicts | carried | rank "
    head += f"| error | size | s | seeds |\n{'|---' * 13}|"
    parts = []
    for group, listed in GROUPS.items():
        rows: dict[str, list[dict]] = {}
        for task in listed():
            if task.name in found:
                rows.setdefault(title(task), []).append(found[task.name])
        parts.append("\n".join([f"## {group}\n", head, *(row(*each) for each in sorted(rows.items()))]))
    return "\n\n".join(parts) + "\n"


def title(task: Task) -> str:
    """What a row says of its runs."""
    settings = f"{task.bits:g} bits" + ", 1.6 allowed" * task.three_levels
    settings += f", A{task.activation_bits}" * (task.activation_bits != 8)
    settings += f", {task.samples} images" * (task.samples != 256)
    return f"{task.detector} | {settings} | {task.method}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real_faces"))
    parser.add_argument("--group", nargs="+", choices=GROUPS, default=["main"])
    parser.add_argument("--only", default="", help="part of a task's name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only write the tables")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = [] if options.table else [task for group in options.group for task in GROUPS[group]()]
    for task in wanted:
        if options.only not in task.name or (options.out / f"{task.name}.json").exists():
            continue
        print(task.name, flush=True)
        run(task, options.data, options.out)
        gc.collect()
    (options.out / "README.md").write_text(tables(options.out))


if __name__ == "__main__":
    main()
