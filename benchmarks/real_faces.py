"""Real faces, real detectors: every method at every budget, one JSON a run, resumable.

    python benchmarks/real_faces.py DATA --out benchmarks/results/real_faces [--only mobilenetv2_035]

DATA is a folder with ``faces256/`` (``train.csv``, ``test.csv``, the two fair pairs as CSV) and ``weights/``.
``train.csv`` calibrates, ``test.csv`` and the pairs only report. A run that has its JSON is not repeated;
``python benchmarks/real_faces.py DATA --out ... --table`` writes the Markdown table from what is there.
"""

import argparse
import gc
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from brevitas_defakeq.api import quantize
from brevitas_defakeq.calibration_set import from_source
from brevitas_defakeq.config import DefakeQConfig, without_haq, without_veft
from brevitas_defakeq.data.preprocessing import Preprocessing
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.detectors.checkpoint import load_weights
from brevitas_defakeq.detectors.resolve import Detector, resolve
from brevitas_defakeq.evaluate.labelled import LabelledSet
from brevitas_defakeq.evaluate.metrics import auc, auc_interval
from brevitas_defakeq.evaluate.observe import Observer, observe_all
from brevitas_defakeq.files import write_json
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.reference import prepare_float
from brevitas_defakeq.resume import Checkpoint

PAIRS = ("test_pair_ffhq_tpdne.csv", "test_pair_cip.csv")
#: average bits -> seeds, for the first two detectors; the third runs at 3 with one.
BUDGETS = {3.0: (0, 1, 2), 2.25: (0, 1, 2), 2.5: (0,), 4.0: (0,), 2.0: (0,)}
METHODS = ("best", "uniform", "paper", "no_haq", "no_veft")


@dataclass(frozen=True)
class Task:
    """One run of the benchmark."""

    detector: str
    method: str
    bits: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.detector}-{self.method}-{self.bits:g}-seed{self.seed}"


def mobilenet(data: Path) -> Detector:
    """timm mobilenetv2_035 at 192 x 192, trained on the ``train`` split."""
    return resolve(
        "mobilenetv2_035", weights=data / "weights/trained/mobilenetv2_035_faces256.pth", input_size=192,
        model_args={"pad_type": "same", "bn_eps": 1e-3}, interpolation="bilinear", mean=0.5, std=0.5,
    )  # fmt: skip


def hybrid(data: Path) -> Detector:
    """The first five stages of mobilenetv2_035 under a four-block transformer, 224 x 224."""
    import timm
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed

    stem = timm.create_model(
        "mobilenetv2_035", features_only=True, out_indices=(3,), pad_type="same", bn_eps=1e-3
    )
    stem.blocks = stem.blocks[:5]
    model = VisionTransformer(
        img_size=224, patch_size=1, embed_dim=192, depth=4, num_heads=3, num_classes=1,
        embed_layer=partial(HybridEmbed, backbone=stem),
    )  # fmt: skip
    load_weights(model, data / "weights/trained/hybrid_faces256.pth")
    half = (0.5, 0.5, 0.5)
    return Detector(model.eval(), "hybrid", Preprocessing((224, 224), "bilinear", half, half))


class ClassNSeg(nn.Module):
    """Encoder of Nguyen et al. (BTAS 2019), nine 3x3 convolutions; the score compares two halves of it."""

    def __init__(self) -> None:
        super().__init__()
        widths = (
            (3, 8, 1),
            (8, 8, 2),
            (8, 16, 1),
            (16, 16, 2),
            (16, 32, 1),
            (32, 32, 2),
            (32, 64, 1),
            (64, 64, 2),
        )
        layers: list[nn.Module] = []
        for before, after, stride in (*widths, (64, 128, 1)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        latent = self.encoder(images).view(-1, 2, 64, 16, 16).abs().mean(dim=(2, 3, 4))  # [N, 2]
        return latent[:, 1:] - latent[:, :1]


def classnseg(data: Path) -> Detector:
    """The published ClassNSeg encoder at 256 x 256."""
    model = ClassNSeg()
    load_weights(model, data / "weights/classnseg/full/encoder_46.pt")
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Detector(model.eval(), "classnseg", Preprocessing((256, 256), "bilinear", *imagenet))


DETECTORS = {"mobilenetv2_035": mobilenet, "hybrid": hybrid, "classnseg": classnseg}


def tasks() -> Iterator[Task]:
    """The most wanted runs first."""
    for bits, seeds in BUDGETS.items():
        for seed in seeds:
            for detector in ("mobilenetv2_035", "hybrid"):
                yield from (Task(detector, method, bits, seed) for method in METHODS)
    yield from (Task("classnseg", method, 3.0, 0) for method in METHODS)


def configuration(task: Task) -> DefakeQConfig:
    """``no_haq`` and ``no_veft`` are ablations of the paper's recipe."""
    recipe = "best" if task.method == "best" else "paper"
    config = DefakeQConfig.for_recipe(recipe, average_bits=task.bits, seed=task.seed)
    return {"no_haq": without_haq, "no_veft": without_veft}.get(task.method, lambda same: same)(config)


def run(task: Task, data: Path, out: Path) -> None:
    """Quantize, score the test images and the pairs, write ``<name>.json``."""
    detector = DETECTORS[task.detector](data)
    start = time.perf_counter()
    if task.method == "uniform":
        models, observer, report = uniform(detector, data, task)
        thresholds = {}
    else:
        result = quantize(detector, data / "faces256/train.csv", configuration(task))
        models, observer = {"quantized": result.quantized, "mixed": result.mixed}, result.observer
        report, thresholds = result.report, result.report["threshold"]
    seconds = time.perf_counter() - start
    test = LabelledSet.from_source(data / "faces256/test.csv", detector.preprocessing)
    observed = observe_all({"float": detector.model.eval(), **models}, observer, test.batches())
    kept = ("average_bits", "size_bytes", "seconds", "forward_passes", "provenance")
    content = {"task": asdict(task), "wall_seconds": seconds}
    content |= {key: report[key] for key in kept if key in report}
    scores = {name: seen.scores for name, seen in observed.items()}
    content["metrics"] = figures(scores, test, data, thresholds)
    write_json(out / f"{task.name}.json", content)


def uniform(detector: Detector, data: Path, task: Task) -> tuple[dict, Observer, dict]:
    """Round to nearest: the integer width at or below the average, MSE ranges, 8-bit activations."""
    config = DefakeQConfig(average_bits=task.bits, seed=task.seed)
    train = data / "faces256/train.csv"
    images = from_source(train, detector.preprocessing, config.samples, seed=task.seed, on_corrupt="refuse")
    reference, plan, observer = prepare_float(detector, images.images[:1])
    job = Job(reference, plan, images.images, images.labels, observer, config, Checkpoint(None, {}))
    width = int(task.bits)
    report = {"average_bits": width, "provenance": provenance(task.seed)}
    return {"quantized": job.round_to_nearest(width)}, observer, report


def figures(scores: dict[str, np.ndarray], test: LabelledSet, data: Path, thresholds: dict) -> dict:
    """Pooled and pair AUC with intervals, verdicts, rank correlation, error of the logit."""
    labels = np.array([sample.label for sample in test.samples])
    files = [sample.path.resolve() for sample in test.samples]
    members = [{s.path.resolve() for s in read_source(data / "faces256" / pair)} for pair in PAIRS]
    pairs = [np.array([file in member for file in files]) for member in members]
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


def table(out: Path) -> str:
    """Markdown from the JSON files, a row a detector, method and budget; several seeds as their mean."""
    groups: dict[tuple, list[dict]] = {}
    for file in sorted(out.glob("*.json")):
        report = json.loads(file.read_text())
        task = report["task"]
        groups.setdefault((task["detector"], task["bits"], task["method"]), []).append(report)
    lines = ["| detector | bits | method | AUC | pairs | of float | verdicts | rank | size | s | seeds |"]
    lines.append("|---|---|---|---|---|---|---|---|---|---|---|")
    for (detector, bits, method), reports in sorted(
        groups.items(), key=lambda item: (item[0][0], -item[0][1])
    ):

        def mean(key: str, form: str = "quantized", reports=reports) -> float:
            return float(np.mean([report["metrics"][form][key] for report in reports]))

        share = [mean(key) / mean(key, "float") for key in ("auc", "pairs_mean")]
        sizes = [r["size_bytes"] for r in reports if "size_bytes" in r]
        size = np.mean([each["quantized"] / each["float"] for each in sizes]) if sizes else float("nan")
        seconds = np.mean([report["wall_seconds"] for report in reports])
        lines.append(
            f"| {detector} | {bits:g} | {method} | {mean('auc'):.3f} | {mean('pairs_mean'):.3f} "
            f"| {100 * share[0]:.1f} / {100 * share[1]:.1f} % | {100 * mean('verdict_agreement'):.1f} % "
            f"| {mean('rank_correlation'):.3f} | {100 * size:.1f} % | {seconds:.0f} | {len(reports)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real_faces"))
    parser.add_argument("--only", help="part of a task's name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        for task in tasks():
            done = (options.out / f"{task.name}.json").exists()
            if done or (options.only and options.only not in task.name):
                continue
            print(task.name, flush=True)
            run(task, options.data, options.out)
            gc.collect()
    (options.out / "README.md").write_text(table(options.out))


if __name__ == "__main__":
    main()
