"""Regenerate the designs: `python -m hw.designs.make [NAME ...] [--work DIR]`, with the extra `fpga`.

Draws faces, trains, quantizes, exports the FINN profile, estimates it, and writes each folder, in a
few minutes per design on one core. An interrupted run resumes from the results in the folder `--work`.
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.export.finn.export_finn import export_finn
from brevitas_defakeq.float_reference import copy_module
from brevitas_defakeq.utils.files import write_bytes, write_json
from hw.boards import board_named
from hw.build_report import build_report
from hw.build_steps import Build
from hw.designs.baseline import baseline
from hw.designs.design import DESIGNS, Design, configuration, float_detector, quantized, test_faces
from hw.designs.design_page import design_page
from hw.designs.training import TEST_SEED, faces
from hw.finn_quirks import quiet_finn
from hw.host import Host

ROOT = Path(__file__).parent
TEST_IMAGES = 2000
#: Numbers of drawn faces whose logits, and whose images, `samples.npz` holds.
SAMPLE_FACES, SAMPLE_IMAGES = 64, 2


def make(design: Design, work: Path) -> None:
    """Write the design's folder."""
    folder = ROOT / design.name
    torch.set_num_threads(1)
    detector = float_detector(design, work, _print_progress)
    test = LabelledSet.from_tensors(*test_faces(TEST_IMAGES))
    run = quantized(
        detector, configuration(design), test, out=work / design.name, on_progress=_print_progress
    )
    run.save(folder / "run")
    export_finn(run, folder, verify=test_faces(SAMPLE_FACES)[0])
    samples = sample(run, Host(folder / "host.json"))
    file = io.BytesIO()
    np.savez_compressed(file, **samples)  # type: ignore[arg-type]  # numpy counts its own keyword
    write_bytes(folder / "samples.npz", file.getvalue())
    report = estimate(design, folder, work)
    kept = baseline(report, float(roc_auc_score(samples["labels"], samples["logits"])))
    write_json(folder / "baseline.json", kept)
    write_bytes(folder / "README.md", design_page(design, run.report, report).encode())


def sample(run: QuantizedDetector, host: Host) -> dict[str, np.ndarray]:
    """Logits of drawn test faces by torch; for the first ones also the images and the device's output.

    Torch computes in float64, since float32 rounds sums between two codes by the order of their terms. The
    device's output is exact: (logit - bias) / scale is an integer.
    """
    images, labels = test_faces(SAMPLE_FACES)
    exact = copy_module(run.quantized).double()
    with torch.no_grad():
        logits = torch.cat([exact(image[None].double())[0] for image in images]).numpy()
    images_uint8, _ = faces(SAMPLE_IMAGES, TEST_SEED)
    (scale,) = host.output["scale"]
    answers = np.round((logits[:SAMPLE_IMAGES] - host.output["bias"]) / scale)
    return {
        "seed": np.array(TEST_SEED), "labels": labels.numpy(), "logits": logits, "images": images_uint8,
        "integers": answers.astype(np.int32),
    }  # fmt: skip


def estimate(design: Design, folder: Path, work: Path) -> dict:
    """The report of the build, with every step verified on drawn faces."""
    board, host = board_named(design.board), Host(folder / "host.json")
    images, _ = faces(4, TEST_SEED)
    inputs = np.concatenate([host.integers(image / np.float32(255)) for image in images])
    build = Build(
        folder / "model.onnx", board, work / f"{design.name}-build", design.fps, inputs.transpose(0, 3, 1, 2),
        _print_progress,
    )  # fmt: skip
    graph = build.run()
    with quiet_finn():
        return build_report(graph, board, target="estimate", wanted_fps=design.fps, verified=build.verified)


def _print_progress(stage: str, done: int, total: int) -> None:
    print(f"{stage} {done}/{total}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", default=list(DESIGNS), help=f"designs to make: {', '.join(DESIGNS)}"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("designs-work"), help="folder for intermediate results"
    )
    options = parser.parse_args()
    for name in options.names:
        make(DESIGNS[name], options.work)


if __name__ == "__main__":
    main()
