"""The last pass: scales, biases, norms and ranges of the whole network tuned together, codes fixed.

No labels: the float model's output and feature are the target, by squared error or by eq. 9.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import FinalPassConfig
from brevitas_defakeq.nn.modules import restore_, snapshot
from brevitas_defakeq.quant.coded import coded_weights
from brevitas_defakeq.reconstruct.rounding import affine_groups
from brevitas_defakeq.veft.contrastive import contrastive_loss

#: model and images -> (fake logit [N], feature [N, C])
Observe = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]
_WARM_UP = 10
#: How often the held-out images are asked.
_CHECKS = 5


def tune_network_(
    model: nn.Module,
    layers: dict[str, nn.Module],
    observe: Observe,
    images: Tensor,
    targets: tuple[Tensor, Tensor],
    train: Tensor,
    held_out: Tensor,
    config: FinalPassConfig,
    *,
    generator: torch.Generator,
    temperature: float = 0.5,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """Tune ``model`` in place; the state with the least held-out error is kept (the start included).

    Args:
        images: calibration images, [M, 3, H, W].
        targets: M_f's logits [M] and features [M, C].
        train, held_out: image indices.

    Returns:
        held-out error (mean of logit's and feature's, each relative to its variance) before and after.
    """
    spreads = tuple(float(target.var().clamp_min(1e-12)) for target in targets)

    def error(indices: Tensor) -> Tensor:
        logit, feature = observe(model, images[indices])
        wanted_logit, wanted_feature = (target[indices] for target in targets)
        output = (logit - wanted_logit).square().mean() / spreads[0]
        if config.loss == "contrastive" and torch.is_grad_enabled():
            return output + contrastive_loss(wanted_feature, feature, wanted_feature, temperature=temperature)
        return output + (feature - wanted_feature).square().mean() / spreads[1]

    @torch.no_grad()
    def held_out_error() -> float:
        parts = [float(error(part)) * len(part) for part in held_out.split(config.batch_size)]
        return sum(parts) / max(1, len(held_out))

    best_error = before = held_out_error()
    with coded_weights(layers, learn_rounding=False) as coded:
        groups = [{"params": [weight.gain for weight in coded.values()], "lr": config.lr}]
        optimizer = torch.optim.Adam(groups + affine_groups(model, config.lr))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _ramp(step, config.steps))
        best = snapshot(model)
        every = max(1, config.steps // _CHECKS)
        order = torch.empty(0, dtype=torch.long)
        for step in range(config.steps):
            if len(order) < config.batch_size:
                order = train[torch.randperm(len(train), generator=generator)]
            batch, order = order[: config.batch_size], order[config.batch_size :]
            optimizer.zero_grad(set_to_none=True)
            error(batch).backward()
            optimizer.step()
            schedule.step()
            if (step + 1) % every == 0 or step + 1 == config.steps:
                now = held_out_error()
                if now < best_error:
                    best_error, best = now, snapshot(model)
            progress(1)
        restore_(model, best)
    return {"before": before, "after": best_error}


def _ramp(step: int, steps: int) -> float:
    """Linear warm-up, then linear decay to a tenth."""
    if step < _WARM_UP:
        return (step + 1) / _WARM_UP
    return 1.0 - 0.9 * (step - _WARM_UP) / max(1, steps - _WARM_UP)
