"""M_f: a prepared copy of the user's float detector, its plan, and its observer."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.prepare.kept_float import kept_float
from brevitas_defakeq.prepare.plan import Plan, make_plan
from brevitas_defakeq.utils.errors import UserError


def prepare_float(
    detector: Detector, example: Tensor, keep_float: Sequence[str] = ()
) -> tuple[nn.Module, Plan, Observer]:
    """M_f (a prepared copy), its plan, and the observer of its logit and feature.

    Args:
        example: one preprocessed image, [1, 3, H, W].
        keep_float: names or patterns of modules that stay float, besides the detector's own.

    Raises:
        UserError: weights or outputs are not finite, no layer can be quantized, or a pattern matches none.
    """
    check_finite(detector.model)
    reference = copy_module(detector.model).eval()
    outside = {**detector.outside, **kept_float(reference, keep_float)}
    plan = make_plan(reference, example, outside=outside, blocks=detector.blocks)
    if not plan.layers and keep_float:
        raise UserError(
            f"keep_float={','.join(keep_float)} leaves nothing of {detector.name} to quantize; name less"
        )
    if not plan.layers:
        raise UserError(f"{detector.name} calls no Linear or Conv layer; there is nothing to quantize")
    side = "input" if detector.feature is None else "output"
    observer = Observer(detector.output, detector.feature or plan.head, side)
    with torch.no_grad():
        logit, _ = observer(reference, example)
    if not logit.isfinite().all():
        raise UserError(f"{detector.name} returns values that are not finite; check its weights and input")
    return reference, plan, observer


def check_finite(model: nn.Module) -> None:
    """Raises UserError that names a weight with non-finite values."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"weight {name} holds values that are not finite; the checkpoint is broken")


def copy_module(model: nn.Module) -> nn.Module:
    """A copy of a float module in the memory format of the processor's fast convolutions."""
    try:
        copied = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"the detector cannot be copied ({first}); remove non-leaf tensors and open handles"
        ) from None
    for tensor in (*copied.parameters(), *copied.buffers()):
        if tensor.dim() == 4:  # a Conv3d's weight has no such layout
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return copied
