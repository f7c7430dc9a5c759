"""``quantize_to_size``: the largest average width whose file, as it is sent, fits in a number of bytes.

Each budget that is tried is a complete run, because nothing else tells how well its codes compress; from its
size the next one is chosen, so two or three are enough.
"""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor, nn

from brevitas_defakeq.artifact import WEIGHTS_FILES, QuantizedDetector
from brevitas_defakeq.budget_search import STEP, budgets_of
from brevitas_defakeq.calibration_set import calibration_set
from brevitas_defakeq.config import DEFAULT_CACHE_BYTES, DefakeQConfig
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.export.onnx import COMPRESSED_NAME, compressed_size
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.nn.gradients import gradients_on
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.quantization_request import prepare_request
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.run_estimate import expected_size
from brevitas_defakeq.run_inputs import as_detector, found_device, labelled_set
from brevitas_defakeq.run_report import add_report_
from brevitas_defakeq.search_runs import SearchRuns
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)
_SENT = "sent.json"


@dataclass(frozen=True)
class SizeTrial:
    """One budget in bits a weight, the bytes of its file, and whether they fit."""

    average_bits: float
    bytes: int
    fits: bool


@gradients_on()
def quantize_to_size(
    detector: nn.Module | Detector,
    calibration: Tensor | Iterable[Tensor] | str | Path | Sequence[Sample],
    config: DefakeQConfig | None = None,
    *,
    max_bytes: int,
    labels: Tensor | None = None,
    test: str | Path | Sequence[Sample] | LabelledSet | None = None,
    out: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    output: OutputSpec | None = None,
    feature: str | None = None,
    on_corrupt: str = "refuse",
    cache_memory: int = DEFAULT_CACHE_BYTES,
    device: str = "cpu",
    on_progress: ProgressCallback = silent,
) -> QuantizedDetector:
    """``quantize`` at the largest budget whose M_q is sent in at most ``max_bytes``.

    What is sent is ``model.onnx.gz`` as ``export_onnx(compress=True)`` writes it, or ``weights.safetensors``
    where the run has no ONNX form. The other arguments are those of ``quantize``; the config's
    ``average_bits`` is not used.

    Args:
        max_bytes: at least 1.

    Returns:
        The run at that budget, identical to that of ``quantize``; ``report["search"]`` holds the limit, the
        name of the file and every trial.

    Raises:
        UserError: as ``quantize``, and if not even the smallest file fits.
    """
    if max_bytes < 1:
        raise UserError(f"budget bytes={max_bytes}: give at least 1")
    config = config or DefakeQConfig()
    if config.budget:
        raise UserError("budget bytes= looks for the largest average_bits; leave the chip's budget out")
    processor = found_device(device)
    detector = as_detector(detector, preprocessing, output, feature)
    request = prepare_request(
        detector,
        test_set=None if test is None else labelled_set(test, detector, on_corrupt),
        calibration=calibration_set(calibration, labels, detector, config, on_corrupt),
        config=config, device=processor, cache_bytes=cache_memory, on_progress=on_progress,
    )  # fmt: skip
    search = {"max_bytes": max_bytes, "step": STEP}
    checkpoint = Checkpoint(Path(out) if out else None, request.identity() | {"search": search})
    checkpoint.keep("search", {})  # another search in this folder is refused from now on
    runs = SearchRuns(
        request, checkpoint.folder, lambda result: json.dumps(sent_file(result)).encode(), _SENT
    )
    file = ""

    def size_of(budget: float) -> int:
        nonlocal file
        file, size = json.loads(runs.measured(budget))
        runs.keep_best(budget, size <= max_bytes)
        return size

    budget, trials = largest_budget(
        size_of, budgets_of(config, request.plan), max_bytes,
        lambda tried: expected_size(request.plan, tried, request.reference),
    )  # fmt: skip
    job, result = runs.done[budget]
    add_report_(result, request, job)
    result.report |= {
        "identity": checkpoint.identity,
        "search": {**search, "file": file, "trials": [asdict(trial) for trial in trials]},
    }
    if out:
        result.save(out)
        checkpoint.done()
    return result


def sent_file(result: QuantizedDetector) -> tuple[str, int]:
    """Name and bytes of what is sent of M_q: ``model.onnx.gz`` or, where that cannot be, the weights file."""
    if result.config.target != "fpga":
        try:
            return COMPRESSED_NAME, compressed_size(result)
        except UserError as error:
            _LOG.warning("the weights file is counted, as there is no ONNX file: %s", error)
    return WEIGHTS_FILES["quantized"], len(result.weights_bytes("quantized"))


def largest_budget(
    size_of: Callable[[float], int],
    budgets: Sequence[float],
    max_bytes: int,
    expected: Callable[[float], int],
) -> tuple[float, list[SizeTrial]]:
    """The largest of ascending budgets whose file fits, and all trials, in order.

    Args:
        size_of: bytes of the file at a budget, from a complete run.
        expected: a guess at them, which the sizes found so far correct.

    Raises:
        UserError: not even the smallest budget fits.
    """
    trials: list[SizeTrial] = []
    fits, exceeds, ratio = -1, len(budgets), 1.0
    while exceeds - fits > 1:
        between = range(fits + 1, exceeds)
        hopeful = [place for place in between if ratio * expected(budgets[place]) <= max_bytes]
        tried = max(hopeful, default=between[0])
        size = size_of(budgets[tried])
        ratio = size / expected(budgets[tried])
        trials.append(SizeTrial(budgets[tried], size, size <= max_bytes))
        fits, exceeds = (tried, exceeds) if size <= max_bytes else (fits, tried)
    if fits < 0:
        raise UserError(
            f"budget bytes={max_bytes}: the smallest file, at {budgets[0]:g} bits a weight, takes "
            f"{trials[-1].bytes:,} bytes; allow as many, or add a smaller candidate"
        )
    return budgets[fits], trials
