"""Our block reconstruction, for networks that compute in float: the same blocks, images, loss and steps.

`Reconstruction` captures each block's inputs and its float output; here all parameters of the block are
trained on them, where ours trains rounding, scales, biases and ranges. Two learning rates are tried, and the
better one is kept if it is better than no training, by the error on held-out images. A last pass over biases
and norms follows, as in ``best``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import ReconstructionConfig
from brevitas_defakeq.nn.module_tree import restore_, snapshot
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.reconstruct.block_loop import Reconstruction
from brevitas_defakeq.reconstruct.block_task import BlockTask
from brevitas_defakeq.reconstruct.final_pass import tune_network_
from brevitas_defakeq.reconstruct.learned_rounding import held_out_error
from brevitas_defakeq.reconstruct.losses import relative_error, target_variance
from brevitas_defakeq.reconstruct.untrainable import untrained_if_refused

#: Adam, relative to the root mean square of each tensor, falling to 0 along a cosine.
LEARNING_RATES = (2e-3, 1e-2)


@dataclass(kw_only=True)
class FloatReconstruction(Reconstruction):
    """The loop over blocks; ``quantized`` is the compressed network."""

    def block_(self, index: int) -> dict[str, float]:
        """Reconstruct block ``index`` of ``units`` in place; returns its errors on held-out images."""
        block = self.units[index]
        task = self._task(block, index)
        errors = train_block_(task, self.config)
        self._count_steps("reconstruct", block)
        self.store.release()
        return errors


def reconstruct_(job: Job, model: nn.Module) -> list[dict[str, float]]:
    """Block by block in data-flow order; returns the errors of each block before and after."""
    work = FloatReconstruction(**vars(job.reconstruction(model)))
    errors = []
    with job.stage("reconstruct"):
        for index in range(len(work.units)):
            job.on_progress("reconstruct", index, len(work.units))
            errors.append(work.block_(index))
    return errors


def tune_(job: Job, model: nn.Module) -> dict[str, float]:
    """The last pass of ``best``, over biases and norms; returns the error before and after."""
    with job.stage("tune"):
        return tune_network_(
            model, {}, job.observer, job.examples(), job.config.final, at_once=job.images_at_once(),
            generator=torch.Generator().manual_seed(job.config.seed),
        )  # fmt: skip


def train_block_(
    task: BlockTask, config: ReconstructionConfig, rates: Sequence[float] = LEARNING_RATES
) -> dict[str, float]:
    """Train every parameter of the block; keep the best of the rates, or the block as it was.

    Returns:
        error before and after on the held-out images, relative to the target's variance.
    """
    variance = target_variance(task)
    before = held_out_error(task, variance)
    if before == 0:  # nothing of the block, or of what is before it, was compressed
        return {"before": 0.0, "after": 0.0}
    start, draws = snapshot(task.quantized), task.generator.get_state()
    best, least = start, before
    for rate in rates:
        restore_(task.quantized, start)
        task.generator.set_state(draws)
        with untrained_if_refused(task.quantized, start, task.name):
            _descend(task, config, rate, variance)
        error = held_out_error(task, variance)
        if error < least:
            best, least = snapshot(task.quantized), error
    restore_(task.quantized, best)
    return {"before": before, "after": least}


def _descend(task: BlockTask, config: ReconstructionConfig, rate: float, variance: float) -> None:
    groups = [{"params": [p], "lr": rate * _size(p)} for p in task.quantized.parameters()]
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, config.iterations))
    for _ in range(config.iterations):
        images = task.draw_images(config.batch_size)
        output = task.run(task.input_rows(images, config.block_input))
        loss = relative_error(output, task.target_rows(images), variance)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()


def _size(tensor: Tensor) -> float:
    return max(float(tensor.detach().square().mean().sqrt()), 1e-3)
