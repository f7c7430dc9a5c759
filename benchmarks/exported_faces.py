"""Exported files on real faces: do they say what the quantized model says?

    python -m benchmarks.exported_faces DATA [--only mobilenetv2_035] [--threads 1] [--table]

DATA is what ``python -m benchmarks --suite real`` takes. Each detector is quantized for ``--target mobile``
with the default recipe and exported in every format whose extra is installed; model and file score all test
images. What is there already, run or JSON, is not made again, so the script goes on where it or another
environment stopped.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.measures import measures
from benchmarks.real_detectors import DETECTORS, fair_pairs
from benchmarks.tables import markdown, reports
from brevitas_defakeq import DefakeQConfig, UserError, export_onnx, load, quantize
from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.evaluation.predict import observe_all
from brevitas_defakeq.export.agreement import Run, ort_run
from brevitas_defakeq.export.mobile import mobile_exporter
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.runtime.onnx_file import open_session
from brevitas_defakeq.utils.files import write_json
from brevitas_defakeq.variants import QUANTIZED_VARIANTS

TRAINED = ("mobilenetv2_035", "hybrid")
BITS = 3.0


def run_of(detector: Detector, data: Path, folder: Path) -> QuantizedDetector:
    """The run in ``folder``, made where it is missing."""
    if not (folder / "report.json").exists():
        config = DefakeQConfig.for_recipe("best", average_bits=BITS, target="mobile")
        quantize(detector, data / "faces256/train.csv", config).save(folder)
    return load(folder, detector.model)


def exported(result: QuantizedDetector, format: str, variant: str, out: Path) -> tuple[Run, dict]:
    """A file as its runtime runs it, and its card."""
    if format == "onnx":
        card = export_onnx(result, out, variant=variant)
        return ort_run(open_session(out / "model.onnx")), card.to_json()
    exporter = mobile_exporter(format)
    card = exporter(result, out, variant=variant)
    return exporter.open(out / exporter.file), card.to_json()


def model_scores(detector: Detector, result: QuantizedDetector, test: LabelledSet) -> dict[str, np.ndarray]:
    """The logits of the float detector and of both variants."""
    models = {"float": detector.model.eval(), **{name: getattr(result, name) for name in QUANTIZED_VARIANTS}}
    seen = observe_all(models, result.observer, test.batches())
    return {name: observed.scores for name, observed in seen.items()}


def measure(
    result: QuantizedDetector, format: str, test: LabelledSet, models: dict[str, np.ndarray], data: Path
) -> dict:
    """Both forms' files on all test images, beside the models' logits."""
    scores = dict(models)
    content: dict = {"format": format, "bits": BITS, "files": {}, "provenance": provenance(0)}
    content["float_bytes"] = result.report["size_bytes"]["float"]
    for variant in QUANTIZED_VARIANTS:
        with TemporaryDirectory() as folder:
            run, card = exported(result, format, variant, Path(folder))
            found = np.concatenate([run(batch.contiguous().numpy()).reshape(-1) for batch in test.batches()])
        name = f"{variant}, file"
        kept = ("runtime", "bytes", "patterns")
        content["files"][variant] = {key: card[key] for key in kept} | {
            "verdicts_as_model": float(np.mean((found > 0) == (scores[variant] > 0))),
            "difference": float(np.sqrt(np.mean((found - scores[variant]) ** 2)) / scores[variant].std()),
        }
        scores[name] = found
    labels, parts = np.array([sample.label for sample in test.samples]), fair_pairs(test.samples, data)
    content["metrics"] = {
        name: measures(found, scores["float"], labels, parts) for name, found in scores.items()
    }
    return content


def table(out: Path) -> str:
    """Markdown from the JSON files."""
    columns = (
        "detector", "format", "form", "kB", "of float", "AUC, model", "AUC, file", "verdicts as the model"
    )  # fmt: skip
    rows = []
    for name, report in reports(out).items():
        for variant, file in report["files"].items():
            size = file["bytes"]["file"]
            aucs = [f"{report['metrics'][key]['auc']:.4f}" for key in (variant, f"{variant}, file")]
            share = f"{100 * size / report['float_bytes']:.1f} %"
            verdicts = f"{100 * file['verdicts_as_model']:.2f} %"
            rows.append(
                (name.split("-")[0], report["format"], variant, f"{size / 1e3:,.0f}", share, *aucs, verdicts)
            )
    return markdown(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/exported_faces"))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders are kept")
    parser.add_argument("--only", choices=TRAINED)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    runnable = ("onnx", "executorch", "litert")
    for name in [] if options.table else [options.only] if options.only else TRAINED:
        paths = {format: options.out / f"{name}-{format}.json" for format in runnable}
        missing = [format for format, path in paths.items() if not path.exists()]
        if not missing:
            continue
        detector = DETECTORS[name](options.data)
        result = run_of(detector, options.data, options.runs / f"{name}-mobile-{BITS:g}")
        test = LabelledSet.from_source(options.data / "faces256/test.csv", detector.preprocessing)
        models = model_scores(detector, result, test)
        for format in missing:
            try:
                write_json(paths[format], measure(result, format, test, models, options.data))
            except UserError as error:
                print(f"{name}, {format}: {error}", flush=True)
    (options.out / "README.md").write_text(table(options.out))


if __name__ == "__main__":
    main()
