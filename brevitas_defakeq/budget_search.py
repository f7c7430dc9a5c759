"""``quantize_within``: as few bits as a bound on the loss of AUC allows, found on validation data.

Calibration, channel energies and the float scores are computed once; each budget that is tried is a whole
run. Interrupted, the same call goes on where it stopped: a run in progress from its last stage, a finished
one from its folder.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import nn

from brevitas_defakeq.api import begin, labelled_set, report_
from brevitas_defakeq.artifact import QuantizedDetector, load
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.data.source_overlap import refuse_shared
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.labelled_set import LabelledSet
from brevitas_defakeq.evaluation.predict import observe_all
from brevitas_defakeq.evaluation.smallest_budget import Trial, check_drop, smallest_budget
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.quantization_request import QuantizationRequest
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import understanding, write_bytes

_SCORES = "validation-logits.bin"
#: Distance of neighbouring budgets in bits a weight.
STEP = 0.25


def quantize_within(
    detector,
    calibration,
    config: DefakeQConfig | None = None,
    *,
    max_auc_drop: float,
    validation: str | Path | Sequence[Sample] | LabelledSet,
    out: str | Path | None = None,
    on_corrupt: str = "refuse",
    **options,
) -> QuantizedDetector:
    """``quantize`` at the smallest budget whose M_q loses at most ``max_auc_drop`` on the validation data.

    Args:
        detector, calibration, config, out, on_corrupt, options: as of ``quantize``; the config's own budget
            is not used.
        max_auc_drop: 0 to 1; the upper end of the paired 95 % interval of AUC(float) - AUC(M_q) over videos
            may not lie above it.
        validation: labelled data that neither calibrate nor test: the budget is chosen on them.

    Returns:
        The run at that budget, as ``quantize`` would make it; ``report["search"]`` holds the bound and every
        trial.

    Raises:
        UserError: as ``quantize``, and where not even the widest budget keeps the bound.
    """
    check_drop(max_auc_drop)
    if config is not None and config.budget:
        raise UserError("max_auc_drop looks for the smallest average_bits; leave the chip's budget out")
    order = begin(detector, calibration, config, on_corrupt=on_corrupt, **options)
    judges = labelled_set(validation, order.detector, on_corrupt)
    refuse_shared(order.images.samples, judges.samples, many_are="the validation data")
    if order.tests is not None:
        refuse_shared(judges.samples, order.tests.samples, few_are="validation images")
    search = {"max_auc_drop": max_auc_drop, "validation": _listing_hash(judges.samples), "step": STEP}
    checkpoint = Checkpoint(Path(out) if out else None, order.identity() | {"search": search})
    checkpoint.keep("search", {})  # another search in this folder is refused from now on
    runs = _Runs(order, judges, checkpoint.folder)
    budget, trials = smallest_budget(
        runs.scores, budgets_of(order), runs.float_scores(), FrameTable.from_samples(judges.samples),
        max_auc_drop, on_progress=runs.judged,
    )  # fmt: skip
    job, result = runs.done[budget]
    report_(result, order, job)
    result.report |= {
        "identity": checkpoint.identity,
        "search": {**search, "images": len(judges.samples), "trials": [asdict(trial) for trial in trials]},
    }
    if out:
        result.save(out)
        checkpoint.done()
    return result


def budgets_of(order: QuantizationRequest) -> list[float]:
    """From what the smallest allowed widths need to the widest candidate, in steps of a quarter bit."""
    config = order.config
    lowest, highest = config.candidate_bits[0], config.candidate_bits[-1]
    sizes = {layer.name: layer.num_params for layer in order.plan.layers}
    needed = sum(config.haq.pinned.get(name, lowest) * size for name, size in sizes.items())
    start = needed / sum(sizes.values())
    steps = np.arange(np.floor(start / STEP) + 1, highest / STEP + 1e-9)
    return [start, *(STEP * steps).tolist()]


class _Runs:
    """The runs of a search. ``done`` holds the smallest that is allowed; all lie in ``folder`` meanwhile."""

    def __init__(self, order: QuantizationRequest, judges: LabelledSet, folder: Path | None) -> None:
        self.order, self.judges, self.folder = order, judges, folder
        self.first = order.job(Checkpoint(None, {}))
        self.done: dict[float, tuple[Job, QuantizedDetector]] = {}

    def float_scores(self) -> np.ndarray:
        """M_f's logits [N] on the validation data."""
        return self._logits(self.order.reference)

    def scores(self, budget: float) -> np.ndarray:
        """M_q's logits [N] at a budget, from a new run or from one that was finished before."""
        folder = self.folder / f"budget-{budget:.4g}" if self.folder else None
        if folder is not None and (folder / _SCORES).exists():
            return self._finished(budget, folder)
        job = self.first.at_budget(budget, Checkpoint(folder, {"budget": budget}))
        report = self.order.on_progress
        job.on_progress = lambda stage, done, total: report(f"{budget:g} bits: {stage}", done, total)
        result = self.order.carry_out(job)
        job.on_progress = self.order.on_progress
        self.done[budget] = job, result
        logits = self._logits(result.quantized)
        if folder is not None:
            result.report = {"seconds": job.seconds, "compute": job.meter.by_stage}
            result.save(folder)
            write_bytes(folder / _SCORES, logits.tobytes())  # last: it says that the others are there
            job.checkpoint.done()
        return logits

    def judged(self, trial: Trial) -> None:
        """Lets go of the run if it is not allowed, and of all larger ones if it is."""
        latest = self.done.pop(trial.average_bits)
        if trial.allowed:
            self.done = {trial.average_bits: latest}

    def _finished(self, budget: float, folder: Path) -> np.ndarray:
        """The logits of a finished run, which is loaded."""
        job = self.first.at_budget(budget, Checkpoint(None, {}))
        result = load(folder, self.order.detector.model)
        with understanding(folder / "report.json"):
            job.seconds, job.meter.by_stage = result.report["seconds"], result.report["compute"]
        self.done[budget] = job, result
        return np.frombuffer((folder / _SCORES).read_bytes(), dtype=np.float32)

    def _logits(self, model: nn.Module) -> np.ndarray:
        """float32 [N]."""
        models = {"it": model.to(self.order.device)}
        return observe_all(models, self.order.observer, self.judges.batches())["it"].scores


def _listing_hash(samples: Sequence[Sample]) -> str:
    """SHA-256 over the paths and labels."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.path.as_posix()}\0{sample.label}\n".encode())
    return digest.hexdigest()
