"""The runs of a search for a budget: each is complete, and measured once.

Calibration and channel energies are computed once. After an interruption a finished run is read from its
folder, an unfinished one goes on from its last stage.
"""

from collections.abc import Callable
from pathlib import Path

from brevitas_defakeq.artifact import QuantizedDetector, load
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.quantization_request import QuantizationRequest
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.utils.files import understanding, write_bytes


class SearchRuns:
    """The runs of a search.

    Args:
        folder: holds all runs until the end; None keeps them nowhere.
        measure: what decides about a finished run, as bytes.
        file: name of the file in a run's folder that holds it.

    Attributes:
        done: the best allowed run so far, by its budget.
    """

    def __init__(
        self,
        request: QuantizationRequest,
        folder: Path | None,
        measure: Callable[[QuantizedDetector], bytes],
        file: str,
    ) -> None:
        self.request, self.folder, self.measure, self.file = request, folder, measure, file
        self.first = request.job(Checkpoint(None, {}))
        self.done: dict[float, tuple[Job, QuantizedDetector]] = {}

    def measured(self, budget: float) -> bytes:
        """What is measured at a budget in bits a weight, of a new run or of one that was finished before."""
        folder = self.folder / f"budget-{budget:.4g}" if self.folder else None
        if folder is not None and (folder / self.file).exists():
            return self._finished(budget, folder)
        job = self.first.at_budget(budget, Checkpoint(folder, {"budget": budget}))
        on_progress = self.request.on_progress
        job.on_progress = lambda stage, done, total: on_progress(f"{budget:g} bits: {stage}", done, total)
        result = self.request.carry_out(job)
        job.on_progress = on_progress
        self.done[budget] = job, result
        found = self.measure(result)
        if folder is not None:
            result.report = {"seconds": job.seconds, "compute": job.meter.by_stage}
            result.save(folder)
            write_bytes(folder / self.file, found)  # last: it marks the folder as complete
            job.checkpoint.done()
        return found

    def keep_best(self, budget: float, allowed: bool) -> None:
        """Drop the latest run if it is not allowed, and all before it if it is."""
        latest = self.done.pop(budget)
        if allowed:
            self.done = {budget: latest}

    def _finished(self, budget: float, folder: Path) -> bytes:
        """What was measured of a finished run; loads the run."""
        job = self.first.at_budget(budget, Checkpoint(None, {}))
        result = load(folder, self.request.detector.model)
        with understanding(folder / "report.json"):
            job.seconds, job.meter.by_stage = result.report["seconds"], result.report["compute"]
        self.done[budget] = job, result
        return (folder / self.file).read_bytes()
