"""Exported files on real faces: do they say what the quantized model says?

    python benchmarks/exported_faces.py DATA [--only mobilenetv2_035] [--threads 1] [--table]

DATA is the folder that ``real_faces.py`` takes. Each detector is quantized for ``--target mobile`` with the
default recipe and exported in every format whose extra is installed; model and file score all test images.
What is there already, run or JSON, is not made again, so the script goes on where it or another environment
stopped.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from real_detectors import DETECTORS
from real_faces import figures

from brevitas_defakeq import DefakeQConfig, UserError, export_mobile, export_onnx, load, quantize
from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.evaluate.labelled import LabelledSet
from brevitas_defakeq.evaluate.observe import observe_all
from brevitas_defakeq.export.check import Run, ort_run
from brevitas_defakeq.export.mobile import FORMATS
from brevitas_defakeq.files import write_json
from brevitas_defakeq.provenance import provenance

TRAINED = ("mobilenetv2_035", "hybrid")
BITS = 3.0
FORMS = ("quantized", "mixed")


def run_of(detector: Detector, data: Path, folder: Path) -> QuantizedDetector:
    """The run in ``folder``, made where it is missing."""
    if not (folder / "report.json").exists():
        config = DefakeQConfig.for_recipe("best", average_bits=BITS, target="mobile")
        quantize(detector, data / "faces256/train.csv", config).save(folder)
    return load(folder, detector.model)


def exported(result: QuantizedDetector, format: str, form: str, out: Path) -> tuple[Run, dict]:
    """A file as its runtime runs it, and its card."""
    if format == "onnx":
        card = export_onnx(result, out, form=form)
        return ort_run((out / "model.onnx").read_bytes(), optimize=True), card.to_json()
    card = export_mobile(result, out, format=format, form=form)
    return FORMATS[format].run(out / FORMATS[format].FILE), card.to_json()


def measure(detector: Detector, result: QuantizedDetector, format: str, data: Path) -> dict:
    """Model and file, both forms, on all test images."""
    test = LabelledSet.from_source(data / "faces256/test.csv", detector.preprocessing)
    models = {"float": detector.model.eval(), **{form: getattr(result, form) for form in FORMS}}
    scores = {
        name: seen.scores for name, seen in observe_all(models, result.observer, test.batches()).items()
    }
    content: dict = {"format": format, "bits": BITS, "files": {}, "provenance": provenance(0)}
    content["float_bytes"] = result.report["size_bytes"]["float"]
    for form in FORMS:
        with TemporaryDirectory() as folder:
            run, card = exported(result, format, form, Path(folder))
            found = np.concatenate([run(batch.contiguous().numpy()).reshape(-1) for batch in test.batches()])
        name = f"{form}, file"
        kept = ("runtime", "bytes", "patterns")
        content["files"][form] = {key: card[key] for key in kept} | {
            "verdicts_as_model": float(np.mean((found > 0) == (scores[form] > 0))),
            "difference": float(np.sqrt(np.mean((found - scores[form]) ** 2)) / scores[form].std()),
        }
        scores[name] = found
    content["metrics"] = figures(scores, test, data, {})
    return content


def table(out: Path) -> str:
    """Markdown from the JSON files."""
    lines = [
        "| detector | format | form | kB | of float | AUC, model | AUC, file | verdicts as the model |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(out.glob("*.json")):
        report = json.loads(path.read_text())
        for form, file in report["files"].items():
            model, found = (report["metrics"][name]["auc"] for name in (form, f"{form}, file"))
            size = file["bytes"]["file"]
            lines.append(
                f"| {path.stem.split('-')[0]} | {report['format']} | {form} | {size / 1e3:,.0f} "
                f"| {100 * size / report['float_bytes']:.1f} % | {model:.4f} | {found:.4f} "
                f"| {100 * file['verdicts_as_model']:.2f} % |"
            )
    return "\n".join(lines) + "\n"


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
    runnable = ["onnx", *(format for format, runtime in FORMATS.items() if hasattr(runtime, "run"))]
    for name in [] if options.table else [options.only] if options.only else TRAINED:
        detector = DETECTORS[name](options.data)
        result = run_of(detector, options.data, options.runs / f"{name}-mobile-{BITS:g}")
        for format in runnable:
            path = options.out / f"{name}-{format}.json"
            if not path.exists():
                try:
                    write_json(path, measure(detector, result, format, options.data))
                except UserError as error:
                    print(f"{name}, {format}: {error}", flush=True)
    (options.out / "README.md").write_text(table(options.out))


if __name__ == "__main__":
    main()
