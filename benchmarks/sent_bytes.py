"""Error of the logit and flips against the bytes that are sent, with a rate term and with fewer bits.

    python -m benchmarks.sent_bytes [VEHICLE:BITS:RATE ...] [--threads 1]

The default recipe on 256 drawn faces, judged on 1,000 faces that no table reports; bytes are those of
``weights.safetensors``. ``results/sent_bytes.json`` keeps every row, and the table of all is printed.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.suite.faces import calibration_faces, faces_to_choose_with
from benchmarks.tables import markdown
from benchmarks.vehicles import detector
from brevitas_defakeq.api import quantize
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.evaluation.predict import observe_all
from brevitas_defakeq.utils.files import write_json

RESULT = Path(__file__).parent / "results" / "sent_bytes.json"
ROWS = (
    *(f"resnet:{bits:g}:0" for bits in (4, 3.75, 3.5, 3.25, 3, 2.75, 2.5)),
    *(f"resnet:{bits}:{rate}" for bits in (4, 3) for rate in (0.003, 0.01, 0.03)),
)
_SAMPLES, _SEED = 256, 0


def measured(name: str, bits: float, rate: float) -> dict[str, float]:
    """One run."""
    images, labels = calibration_faces(_SAMPLES, _SEED)
    config = DefakeQConfig(average_bits=bits, samples=_SAMPLES, seed=_SEED)
    config = replace(config, reconstruction=replace(config.reconstruction, rate=rate))
    float_model = detector(name)
    result = quantize(float_model, images, config, labels=labels)
    models = {"float": float_model.model.eval(), "quantized": result.quantized}
    seen = observe_all(models, result.observer, faces_to_choose_with().batches())
    wanted, found = (seen[key].scores for key in models)
    return {
        "bytes": result.report["size_bytes"]["quantized"],
        "float_bytes": result.report["size_bytes"]["float"],
        "error": float(np.mean((found - wanted) ** 2) / wanted.var()),
        "flips": float(np.mean((found > 0) != (wanted > 0))),
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    """All rows, the largest file first."""
    cells = []
    for key, row in sorted(rows.items(), key=lambda pair: -pair[1]["bytes"]):
        name, bits, rate = key.split(":")
        share = 100 * row["bytes"] / row["float_bytes"]
        cells.append([
            name, bits, rate, f"{row['bytes'] / 1e3:.1f}", f"{share:.2f} %", f"{1e3 * row['error']:.2f}",
            f"{100 * row['flips']:.1f} %",
        ])  # fmt: skip
    return markdown(["detector", "bits", "rate", "kB", "of float", "error / 1000", "flips"], cells)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", default=ROWS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for key in options.rows:
        if key not in found:
            name, bits, rate = key.split(":")
            found[key] = measured(name, float(bits), float(rate))
            write_json(RESULT, found)
    print(table(found))


if __name__ == "__main__":
    main()
