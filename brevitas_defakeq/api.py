"""``quantize``: one call from a float detector and calibration images to the finished result."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor, nn

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.calibration_set import calibration_set
from brevitas_defakeq.config import DEFAULT_CACHE_BYTES, DefakeQConfig
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.haq.hardware_costs_file import open_costs
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.nn.gradients import gradients_on
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.quantization_request import prepare_request
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.run_inputs import as_detector, found_device, labelled_set
from brevitas_defakeq.run_report import add_report_


@gradients_on()
def quantize(
    detector: nn.Module | Detector,
    calibration: Tensor | Iterable[Tensor] | str | Path | Sequence[Sample],
    config: DefakeQConfig | None = None,
    *,
    labels: Tensor | None = None,
    test: str | Path | Sequence[Sample] | LabelledSet | None = None,
    out: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    output: OutputSpec | None = None,
    feature: str | None = None,
    on_corrupt: str = "refuse",
    costs: str | Path | None = None,
    cache_memory: int = DEFAULT_CACHE_BYTES,
    device: str = "cpu",
    on_progress: ProgressCallback = silent,
) -> QuantizedDetector:
    """Quantize a trained detector by HAQ and VEFT (Algorithm 1).

    Args:
        detector: an ``nn.Module`` that takes an image batch [N, 3, H, W], or a ``Detector`` from
            ``detectors.resolve``; it is not changed.
        calibration: preprocessed images [N, 3, H, W] (or batches of them), or a data source (folder, CSV,
            samples), which needs ``preprocessing`` unless the detector has its own.
        config: every setting; by default ``recipe="best"`` at 3 bits on average.
        labels: 0 real, 1 fake, [N], for tensors; used by eq. 9's negatives and the carried threshold.
        test: labelled data to report AUC on; never used to choose anything.
        out: run folder; makes the run resumable and saves the result there.
        output: how to read the fake logit; by default found from the output's shape.
        feature: module whose output eq. 9 aligns; by default the input of the last layer.
        on_corrupt: "refuse" or "skip" unreadable calibration and test images.
        costs: layer costs on a chip, a file of ``hw/costs.py``; for a config with a ``budget``.
        cache_memory: bytes of captured activations kept in memory; more go to disk.
        device: "cpu", or "cuda" for a graphics card; the result comes back to the processor.
        on_progress: called with (stage, done, total).

    Raises:
        UserError: for everything the user can fix.
    """
    config = config or DefakeQConfig()
    hardware, processor = open_costs(costs, config.budget), found_device(device)
    detector = as_detector(detector, preprocessing, output, feature)
    request = prepare_request(
        detector,
        test_set=None if test is None else labelled_set(test, detector, on_corrupt),
        calibration=calibration_set(calibration, labels, detector, config, on_corrupt),
        config=config, hardware=hardware, device=processor, cache_bytes=cache_memory, on_progress=on_progress,
    )  # fmt: skip
    checkpoint = Checkpoint(Path(out) if out else None, request.identity())
    job = request.job(checkpoint)
    result = request.carry_out(job)
    add_report_(result, request, job)
    result.report["identity"] = checkpoint.identity
    if out:
        result.save(out)
        checkpoint.done()
    return result
