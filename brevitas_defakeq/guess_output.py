"""Tells probabilities from logits, where the user does not say what a detector returns."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from brevitas_defakeq.config import FORWARD_BATCH, MINIMUM_SAMPLES
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.prepare.trace import tensors_in

_LOG = logging.getLogger(__name__)

#: Torch functions whose results are probabilities, and products, whose results are logits.
_PROBABILITIES = {"sigmoid", "sigmoid_", "hardsigmoid", "special_expit", "expit", "softmax"}
_LOGITS = {"linear", "addmm", "matmul", "mm", "bmm", "conv1d", "conv2d", "__matmul__", "einsum", "bilinear"}
#: Rounding of a softmax in float32 stays well below.
_SUM_TOLERANCE = 1e-4


@torch.no_grad()
def settled_output(output: OutputSpec, model: nn.Module, images: Tensor) -> OutputSpec:
    """``output`` with kind "probability" where it was left to be guessed and the model returns probabilities.

    The last operation on the scores decides; where it does not tell, the scores of all images do: each of
    them from 0 to 1, and each image's adding up to one if there are several. A line says what was taken.

    Also says so where two passes over one image do not agree.

    Args:
        model: the float detector, in evaluation mode.
        images: preprocessed, [N, 3, H, W]; they stay as they are.
    """
    with _Makers() as makers:
        raw = model(images[:1].clone())
    scores, known = output.scores(raw)
    _say_class(output, scores.shape[1])
    again, _ = output.scores(model(images[:1].clone()))
    if not torch.allclose(again, scores, rtol=1e-3, atol=1e-5):
        _LOG.warning(
            "the detector gives the same image another score each time, so no seed repeats this run; "
            "take dropout and noise out of its forward pass"
        )
    maker = makers.of(scores)
    if output.kind != "auto" or known or maker in _LOGITS:
        return output
    if maker in _PROBABILITIES:
        evidence = f"its last operation is {maker.strip('_')}"
    elif _look_like_probabilities(output, model, images):
        evidence = f"the scores of all {len(images)} calibration images lie from 0 to 1"
        evidence += " and add up to 1" * (scores.shape[1] > 1)
    else:
        return output
    other = "logit" if scores.shape[1] == 1 else "softmax"
    _LOG.warning(
        "the detector is taken to return probabilities, since %s; --output %s says otherwise", evidence, other
    )
    return replace(output, kind="probability")


def _look_like_probabilities(output: OutputSpec, model: nn.Module, images: Tensor) -> bool:
    if len(images) < MINIMUM_SAMPLES:
        return False
    scores = torch.cat([output.scores(model(batch.clone()))[0] for batch in images.split(FORWARD_BATCH)])
    if scores.min() < 0 or scores.max() > 1:
        return False
    return scores.shape[1] == 1 or bool(((scores.sum(dim=1) - 1).abs() < _SUM_TOLERANCE).all())


def _say_class(output: OutputSpec, classes: int) -> None:
    """A line where one of three or more classes is taken for fake because nobody said which."""
    if classes > 2 and output.real_index is None and output.fake_index == OutputSpec.fake_index:
        _LOG.warning(
            "of %d classes class %d is taken for fake, all others for real; "
            "--fake-index or --real-index says otherwise", classes, output.fake_index,
        )  # fmt: skip


class _Makers(TorchFunctionMode):
    """Remembers, within its context, which torch function wrote the values of each tensor last."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[int, str] = {}

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__") or name.startswith("__i")
        read = {_storage(tensor) for tensor in tensors_in((args, kwargs))}
        for tensor in tensors_in(result):
            if in_place or _storage(tensor) not in read:  # else a view, which changes no values
                self._names[_storage(tensor)] = name
        return result

    def of(self, tensor: Tensor) -> str:
        """The function's name; empty where none was seen."""
        return self._names.get(_storage(tensor), "")


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
