"""``quantize_within``: the smallest average width within a bound on the loss of AUC on validation data.

Calibration, channel energies and the float scores are computed once; each budget that is tried is a complete
run. After an interruption the same call continues: an unfinished run from its last stage, a finished one from
its folder.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.calibration_set import calibration_set
from brevitas_defakeq.config import DEFAULT_CACHE_BYTES, DefakeQConfig
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.source_overlap import refuse_shared
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.paired_auc import auc_estimates
from brevitas_defakeq.evaluation.predict import observe_all
from brevitas_defakeq.evaluation.reversed_labels import reversed_notes
from brevitas_defakeq.evaluation.smallest_budget import check_drop, smallest_budget
from brevitas_defakeq.haq.hardware_costs_file import open_costs
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.nn.gradients import gradients_on
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.quantization_request import QuantizationRequest, prepare_request
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.run_inputs import as_detector, found_device, labelled_set
from brevitas_defakeq.run_report import add_report_
from brevitas_defakeq.search_runs import SearchRuns
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)

_SCORES = "validation-logits.bin"
#: Distance of neighbouring budgets in bits a weight.
STEP = 0.25


@gradients_on()
def quantize_within(
    detector: nn.Module | Detector,
    calibration: Tensor | Iterable[Tensor] | str | Path | Sequence[Sample],
    config: DefakeQConfig | None = None,
    *,
    max_auc_drop: float,
    validation: str | Path | Sequence[Sample] | LabelledSet,
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
    """``quantize`` at the smallest budget whose M_q loses at most ``max_auc_drop`` on the validation data.

    The other arguments are those of ``quantize``; the config's ``average_bits`` is not used.

    Args:
        max_auc_drop: 0 to 1; limit for the upper end of the paired 95 % interval over videos of
            AUC(float) - AUC(M_q).
        validation: labelled data to choose the budget on, apart from calibration and test images.

    Returns:
        The run at that budget, identical to that of ``quantize``; ``report["search"]`` holds the bound and
        every trial.

    Raises:
        UserError: as ``quantize``, and if not even the widest budget keeps the bound.
    """
    check_drop(max_auc_drop)
    if config is not None and config.budget:
        raise UserError("max_auc_drop looks for the smallest average_bits; leave the chip's budget out")
    config = config or DefakeQConfig()
    hardware, processor = open_costs(costs, config.budget), found_device(device)
    detector = as_detector(detector, preprocessing, output, feature)
    request = prepare_request(
        detector,
        test_set=None if test is None else labelled_set(test, detector, on_corrupt),
        calibration=calibration_set(calibration, labels, detector, config, on_corrupt),
        config=config, hardware=hardware, device=processor, cache_bytes=cache_memory, on_progress=on_progress,
    )  # fmt: skip
    validating = labelled_set(validation, detector, on_corrupt)
    refuse_shared(request.calibration.samples, validating.samples, many_are="the validation data")
    if request.test_set is not None:
        refuse_shared(validating.samples, request.test_set.samples, few_are="validation images")
    search = {"max_auc_drop": max_auc_drop, "validation": _listing_hash(validating.samples), "step": STEP}
    checkpoint = Checkpoint(Path(out) if out else None, request.identity() | {"search": search})
    checkpoint.keep("search", {})  # another search in this folder is refused from now on
    logits = partial(_logits, request, validating)
    runs = SearchRuns(request, checkpoint.folder, lambda result: logits(result.quantized).tobytes(), _SCORES)
    frames, float_scores = FrameTable.from_samples(validating.samples), logits(request.reference)
    say_reversed(frames, float_scores)
    budget, trials = smallest_budget(
        lambda tried: np.frombuffer(runs.measured(tried), dtype=np.float32),
        budgets_of(config, request.plan), float_scores, frames, max_auc_drop,
        on_progress=lambda trial: runs.keep_best(trial.average_bits, trial.allowed),
    )  # fmt: skip
    job, result = runs.done[budget]
    add_report_(result, request, job)
    result.report |= {
        "identity": checkpoint.identity,
        "search": {
            **search,
            "images": len(validating.samples),
            "trials": [asdict(trial) for trial in trials],
        },
    }
    if out:
        result.save(out)
        checkpoint.done()
    return result


def say_reversed(frames: FrameTable, float_scores: np.ndarray) -> None:
    """A line where the float detector's AUC on the validation data looks reversed."""
    estimates = auc_estimates(frames.labels, {"float": float_scores}, groups=frames.videos)
    for note in reversed_notes({"float": estimates["float"].to_dict()}):
        _LOG.warning("validation data: %s", note)


def budgets_of(config: DefakeQConfig, plan: Plan) -> list[float]:
    """Average widths from the smallest possible to the widest candidate, in steps of ``STEP`` bits."""
    lowest, highest = config.candidate_bits[0], config.candidate_bits[-1]
    sizes = {layer.name: layer.num_params for layer in plan.layers}
    needed = sum(config.haq.pinned.get(name, lowest) * size for name, size in sizes.items())
    start = needed / sum(sizes.values())
    steps = np.arange(np.floor(start / STEP) + 1, highest / STEP + 1e-9)
    return [start, *(STEP * steps).tolist()]


def _logits(request: QuantizationRequest, validating: LabelledSet, model: nn.Module) -> np.ndarray:
    """Logits on the validation data, float32 [N]."""
    models = {"model": model.to(request.device)}
    return observe_all(models, request.observer, validating.batches())["model"].scores


def _listing_hash(samples: Sequence[Sample]) -> str:
    """SHA-256 over the paths and labels."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.path.as_posix()}\0{sample.label}\n".encode())
    return digest.hexdigest()
