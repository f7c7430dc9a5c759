"""Size and latency of exported files beside the float file and ONNX Runtime's own int8 files.

    python -m benchmarks.on_device [--only deit_tiny] [--threads 1] [--table]

Weights are random: neither size nor time depends on them. A detector that has its JSON is not measured again.
The files take turns in one process, batch 1. A peer's file that does not load is named under "failed".
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_dynamic,
    quantize_static,
)

from benchmarks.tables import markdown, reports
from brevitas_defakeq import DefakeQConfig, export_onnx, quantize
from brevitas_defakeq.demo import drawn_calibration
from brevitas_defakeq.detectors.resolve import Detector, resolve
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.runtime import latency
from brevitas_defakeq.runtime.onnx_file import open_session
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json

IMAGES = 8
#: Average bits -> the variants that are measured.
VARIANTS_AT = {
    3.0: {"quantized": "M_q", "mixed": "M_q^v"},
    2.25: {"quantized": "M_q"},
    4.0: {"quantized": "M_q"},
}


def named(name: str, **options) -> Callable[[], Detector]:
    return lambda: resolve(name, **options)


DETECTORS = {
    "deit_tiny": named("deit_tiny"), "deit_small": named("deit_small"), "deit_base": named("deit_base"),
    "vit_base": named("vit_base"), "resnet50": named("resnet50"),
    "mobilenetv2_035": named("mobilenetv2_035", input_size=192, model_args={"pad_type": "same"}),
}  # fmt: skip


class Images(CalibrationDataReader):
    """Calibration images, one at a time, for ONNX Runtime's static quantization."""

    def __init__(self, images: torch.Tensor) -> None:
        self.rest = iter(images.split(1))

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.rest, None)
        return None if image is None else {"image": image.contiguous().numpy()}


def measure(name: str, threads: int, runs: int) -> dict:
    """Sizes and times of every file of one detector; the files themselves are temporary."""
    torch.manual_seed(0)
    detector = DETECTORS[name]()
    images = drawn_calibration(detector.preprocessing, IMAGES)[0]
    with tempfile.TemporaryDirectory() as folder:
        files = {"float": Path(folder, "float", "model.onnx")}
        cards = {}
        for bits in VARIANTS_AT:
            result = quantize(detector, images, recipe(bits))
            if not cards:
                export_onnx(result, files["float"].parent, variant="float", float_model=detector.model)
            for variant, label in VARIANTS_AT[bits].items():
                key = f"DeFakeQ {bits:g} bits, {label}"
                files[key] = Path(folder, f"{variant}-{bits:g}", "model.onnx")
                cards[key] = export_onnx(result, files[key].parent, variant=variant).to_json()
        failed = {}
        for key, file in peers(files["float"], images, Path(folder)).items():
            try:
                open_session(file)
                files[key] = file
            except UserError as error:
                failed[key] = str(error)
        found = latency(list(files.values()), threads=threads, runs=runs)
    for file, key in zip(found["files"], files, strict=True):
        file["path"] = key
        file["size"] = file["file_bytes"] / found["files"][0]["file_bytes"]
    kept = ("bytes", "patterns", "runtime")
    cards = {key: {part: card[part] for part in kept} for key, card in cards.items()}
    return {"detector": name, **found, "failed": failed, "cards": cards, "provenance": provenance(0)}


def recipe(bits: float) -> DefakeQConfig:
    """The widths are chosen, nothing is learned."""
    config = DefakeQConfig.for_recipe("best", average_bits=bits, target="mobile", samples=IMAGES)
    return replace(
        config, reconstruction=replace(config.reconstruction, iterations=0, rounding="nearest"),
        final=replace(config.final, steps=0),
    )  # fmt: skip


def peers(original: Path, images: torch.Tensor, folder: Path) -> dict[str, Path]:
    """ONNX Runtime's own int8 files of the same float file."""
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(original), str(prepared), skip_symbolic_shape=True)
    files = {
        name: folder / f"{index}.onnx" for index, name in enumerate(("ORT dynamic int8", "ORT static int8"))
    }
    dynamic, static = files.values()
    quantize_dynamic(str(prepared), str(dynamic), per_channel=True, weight_type=QuantType.QInt8)
    quantize_static(
        str(prepared), str(static), Images(images), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return files


def table(out: Path) -> str:
    """Markdown from the JSON files."""
    columns = ("detector", "file", "kB", "of float", "ms", "of float", "memory MB")
    rows = [
        (
            report["detector"], file["path"], f"{file['file_bytes'] / 1e3:,.0f}",
            f"{100 * file['size']:.1f} %", f"{file['median_ms']:.1f}", f"{file['ratio']:.2f}",
            f"{(file['peak_memory_bytes'] or 0) / 1e6:.0f}",
        )
        for report in reports(out).values()
        for file in report["files"]
    ]  # fmt: skip
    return markdown(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/on_device"))
    parser.add_argument("--only", choices=DETECTORS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in [] if options.table else [options.only] if options.only else DETECTORS:
        path = options.out / f"{name}.json"
        if not path.exists():
            print(name, flush=True)
            write_json(path, measure(name, options.threads, options.runs))
    (options.out / "README.md").write_text(table(options.out))


if __name__ == "__main__":
    main()
