"""M_f: a prepared copy of the user's float detector, its plan, and its observer."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.plain_module import plain_module
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.nn.batch_input import hand_over_copies_, to_channels_last_
from brevitas_defakeq.nn.module_tree import copy_module, modules_by_name
from brevitas_defakeq.prepare.kept_float import kept_float
from brevitas_defakeq.prepare.outside_weights import WeightsRead
from brevitas_defakeq.prepare.parametrizations import remove_parametrizations_
from brevitas_defakeq.prepare.plan import Plan, make_plan
from brevitas_defakeq.prepare.single_image import single_image_logit
from brevitas_defakeq.prepare.trace import refused_if_it_fails
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)

#: Relative difference of a logit between memory layouts that is rounding.
_ROUNDING = 1e-2


def prepare_float(
    detector: Detector, example: Tensor, keep_float: Sequence[str] = ()
) -> tuple[nn.Module, Plan, Observer]:
    """M_f (a prepared copy), its plan, and the observer of its logit and feature.

    Args:
        example: one preprocessed image, [1, 3, H, W].
        keep_float: names or patterns of modules that stay float, besides the detector's own.

    Raises:
        UserError: the detector fails on images of that size, weights that it computes with or its outputs are
            not finite, no layer can be quantized, or a pattern matches none.
    """
    reference = copy_module(detector.model).eval()
    names = dict(reference.named_modules())
    contiguous, beside = _needs_contiguous(reference, detector, example)
    late = [name for name, _ in reference.named_modules() if name not in names]
    if late:
        raise UserError(
            f"{detector.name} makes {late[0]} in its first forward pass, with random weights; run it once on "
            "a batch, and load its weights"
        )
    _refuse_resized_buffers(reference, detector.model)
    outside = {**detector.outside, **kept_float(reference, keep_float)}
    with _single_image_explained(detector, example):
        plan = make_plan(reference, example, outside=outside, blocks=detector.blocks, contiguous=contiguous)
    if not plan.layers and keep_float:
        raise UserError(
            f"keep_float={','.join(keep_float)} leaves nothing of {detector.name} to quantize; name less"
        )
    if not plan.layers:
        raise UserError(f"{detector.name} calls no Linear or Conv layer; there is nothing to quantize")
    _refuse_broken_layers(reference, plan)
    side = "input" if detector.feature is None else "output"
    observer = Observer(detector.output, detector.feature or plan.head, side)
    with torch.no_grad(), _single_image_explained(detector, example):
        alone, _ = observer(reference, example)
    _say_dependence(detector, reference, example, alone, beside)
    return reference, plan, observer


@contextmanager
def _single_image_explained(detector: Detector, example: Tensor) -> Iterator[None]:
    """A UserError that comes of a batch of one image names the operation that drops it."""
    try:
        yield
    except UserError:
        single_image_logit(copy_module(detector.model).eval(), example, detector.output.fake_logit)
        raise


@torch.no_grad()
def _say_dependence(
    detector: Detector, model: nn.Module, example: Tensor, alone: Tensor, beside: Tensor
) -> None:
    """A line where an image's logit [1] beside another image is not that of the image alone."""
    if not _close(beside, alone) and _close(detector.output.fake_logit(model(example.clone())), alone):
        _LOG.warning(
            "%s gives an image another score beside other images: something in it computes over the batch, "
            "such as a BatchNorm without running statistics", detector.name,
        )  # fmt: skip


def as_planned(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of the float model without parametrizations that takes its batches as the plan says."""
    copied = copy_module(plain_module(model))
    remove_parametrizations_(copied)
    if plan.contiguous or plan.changes_batch:
        hand_over_copies_(copied, contiguous=plan.contiguous)
    return copied


@torch.no_grad()
def _needs_contiguous(model: nn.Module, detector: Detector, example: Tensor) -> tuple[bool, Tensor]:
    """Whether a copy of the detector fails, or gives other logits, in channels-last layout.

    Returns:
        that, and the logit [1] of ``example`` beside its mirror image.

    Raises:
        UserError: it fails in its own layout, or its logits are not finite.
    """
    images = torch.cat([example, example.flip(3)])
    with refused_if_it_fails(images), WeightsRead() as read:
        wanted = detector.output.fake_logit(model(images.clone()))
    read.check(model, detector.model)
    if not wanted.isfinite().all():
        broken = _not_finite(detector.model)
        reason = "check its weights and input"
        if broken:
            reason = f"weight {broken[0]} holds such values, the checkpoint is broken"
        raise UserError(f"{detector.name} returns values that are not finite; {reason}")
    other = copy_module(model)
    to_channels_last_(other)
    try:
        found = detector.output.fake_logit(other(images.to(memory_format=torch.channels_last, copy=True)))
    except Exception:  # the user's code may raise anything
        return True, wanted[:1]
    return not _close(found, wanted), wanted[:1]


def _close(found: Tensor, wanted: Tensor) -> bool:
    return not (found - wanted).abs().max() > _ROUNDING * wanted.abs().max().clamp_min(1e-3)


def _refuse_resized_buffers(ran: nn.Module, original: nn.Module) -> None:
    """Raises UserError where a forward pass of two images has given a buffer of the file another shape."""
    before = {name: value.shape for name, value in original.state_dict().items() if isinstance(value, Tensor)}
    for name, value in ran.state_dict().items():
        if name in before and value.shape != before[name]:
            raise UserError(
                f"the forward pass puts values of the batch into the buffer {name}, which files would hold; "
                "register it with persistent=False, or keep it as a plain attribute"
            )


def _refuse_broken_layers(reference: nn.Module, plan: Plan) -> None:
    """Raises UserError that names a layer with weights that are not finite: no grid holds them."""
    modules = modules_by_name(reference)
    for layer in plan.layers:
        for name in _not_finite(modules[layer.name]):
            raise UserError(
                f"weight {layer.name}.{name} holds values that are not finite; the checkpoint is broken"
            )


def _not_finite(model: nn.Module) -> list[str]:
    """Names of the tensors with values that are not finite."""
    return [
        name
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not tensor.isfinite().all()
    ]
