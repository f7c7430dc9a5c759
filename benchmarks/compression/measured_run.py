"""One run: compress, reconstruct, store, read back, score; a JSON row."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.compression.candidate import Removal, of_size
from benchmarks.compression.float_reconstruction import reconstruct_, tune_
from benchmarks.compression.sign_rank_one import sign_rank_one
from benchmarks.compression.stored_file import file_of, read_file_
from benchmarks.compression.structured_pruning import structured_pruning
from benchmarks.compression.truncated_svd import truncated_svd
from benchmarks.measures import measures
from brevitas_defakeq.artifact import float_bytes
from brevitas_defakeq.calibration_set import CalibrationSet
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.quantization_request import prepare_request
from brevitas_defakeq.resume import Checkpoint

METHODS: dict[str, Callable[[Job], Removal]] = {
    "structured_pruning": structured_pruning, "truncated_svd": truncated_svd, "sign_rank_one": sign_rank_one,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """A float-computing detector read back from its file.

    Attributes:
        content: the file.
        removed: share of the units that the method can take away, as the bisection found it.
        before: the same detector before reconstruction.
        seconds: by stage.
        blocks: held-out errors of each block before and after.
    """

    model: nn.Module
    content: bytes
    removed: float
    before: nn.Module
    seconds: dict[str, float]
    blocks: list[dict[str, float]]


def compress(job: Job, method: str, target: int) -> Compressed:
    """Bring the job's detector to ``target`` bytes (up to 1 % less), and reconstruct it block by block.

    Raises:
        UserError: the method cannot reach that size.
    """
    with job.stage("compress"):
        candidate, removed = of_size(METHODS[method](job), target)
        before = copy.deepcopy(candidate.finished())
    blocks = reconstruct_(job, candidate.model)
    tune_(job, candidate.model)
    model = candidate.finished()
    content = file_of(model)
    read_file_(model, content)
    seconds = {stage: round(value, 2) for stage, value in job.seconds.items()}
    return Compressed(
        model=model.requires_grad_(False), content=content, removed=removed,
        before=before.requires_grad_(False), seconds=seconds, blocks=blocks,
    )  # fmt: skip


def new_job(detector: Detector, calibration: CalibrationSet, config: DefakeQConfig) -> Job:
    """A run of our method that is prepared and not begun: float model, plan, images, observer."""
    request = prepare_request(detector, calibration, config, device=torch.device("cpu"))
    return request.job(Checkpoint(None, {}))


def measured(
    detector: Detector, calibration: CalibrationSet, test: LabelledSet, parts: Mapping[str, np.ndarray],
    method: str, target: int, config: DefakeQConfig,
) -> dict[str, Any]:  # fmt: skip
    """The row of one method at one size, ready for JSON; ``parts`` as in `measures`."""
    start = time.perf_counter()
    job = new_job(detector, calibration, config)
    found = compress(job, method, target)
    seconds = time.perf_counter() - start
    models = {"float": job.reference, "before_reconstruction": found.before, "compressed": found.model}
    scores = logits(models, job.observer, test)
    labels = np.array([sample.label for sample in test.samples])
    size = float_bytes(detector.model)
    return {
        "task": {
            "detector": detector.name, "method": method, "bytes": target, "seed": config.seed,
            "samples": len(calibration.images), "iterations": config.reconstruction.iterations,
        },
        "wall_seconds": seconds,
        "size_bytes": {"float": size, "compressed": len(found.content)},
        "share_of_float": len(found.content) / size,
        "removed": found.removed,
        "seconds": found.seconds,
        "forward_passes": round(job.meter.passes(), 1),
        "block_errors": found.blocks,
        "provenance": provenance(config.seed),
        "metrics": {
            name: measures(values, scores["float"], labels, parts) for name, values in scores.items()
        },
    }  # fmt: skip


@torch.no_grad()
def logits(models: Mapping[str, nn.Module], observer: Observer, test: LabelledSet) -> dict[str, np.ndarray]:
    """Fake logits [N] of every model; a pruned one's feature may be shorter, so that it is not compared."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in models}
    for batch in test.batches():
        batch = batch.contiguous(memory_format=torch.channels_last)
        for name, model in models.items():
            found[name].append(observer(model.eval(), batch)[0].numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}
