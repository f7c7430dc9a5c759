"""Where in its images a network finds its verdict."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.nn.module_tree import device_of, eval_mode
from brevitas_defakeq.prepare.trace import refused_if_it_fails
from brevitas_defakeq.saliency.attention_weights import AttentionWeights
from brevitas_defakeq.saliency.last_map import LastMap, last_map, recorded, token_grid
from brevitas_defakeq.saliency.methods import grad_cam, rollout
from brevitas_defakeq.utils.errors import UserError

#: Images of one forward pass with gradients.
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class SaliencyMaps:
    """One map for each image; only where it is high and low has a meaning, not its unit.

    Attributes:
        maps: [N, h, w]. Rollout: the share of the verdict's tokens that comes from each patch, 0 to 1.
            Grad-CAM: positive where a position speaks for fake, negative where it speaks for real.
        method: how they were made.
        layer: the module whose output the verdict is read from.
    """

    maps: Tensor
    method: Literal["attention rollout", "Grad-CAM"]
    layer: str


def saliency_maps(model: nn.Module, images: Tensor, *, observer: Observer) -> SaliencyMaps:
    """Saliency maps of a detector, or of any quantized form of it that gradients can pass.

    Attention rollout where the verdict is read from tokens and every self-attention of the network is among
    these: ViT, CLIP, and hybrids that end in such a transformer. Grad-CAM on the last feature map otherwise:
    convolutional networks, hybrids that end in convolutions, and windows (Swin), across which rollout is not
    defined. Tokens are a feature map there.

    Args:
        model: left as it was.
        images: preprocessed, [N, 3, H, W].
        observer: says how the fake logit is read.

    Raises:
        UserError: neither is possible.
    """
    parts = [_of_batch(model, batch, observer) for batch in images.to(device_of(model)).split(_BATCH)]
    return replace(parts[0], maps=torch.cat([part.maps for part in parts]))


@torch.enable_grad()
def _of_batch(model: nn.Module, images: Tensor, observer: Observer) -> SaliencyMaps:
    with (
        eval_mode(model), refused_if_it_fails(images), recorded(model) as outputs,
        AttentionWeights() as attention,
    ):  # fmt: skip
        raw = model(images.detach().requires_grad_().clone())  # a copy, since a model may write to it
    outside = [(name, values) for name, values in outputs if not attention.is_operand(values)]
    last = last_map(outside, observer.logit(raw), images)
    weights = _among_tokens(attention.kept, last)
    if weights:
        maps = _rolled_out(weights, last, images)
        return SaliencyMaps(maps=maps, method="attention rollout", layer=last.layer)
    return SaliencyMaps(maps=_grad_cam(last, images), method="Grad-CAM", layer=last.layer)


def _among_tokens(weights: list[Tensor], last: LastMap) -> list[Tensor]:
    """Self-attention as [N, heads, T, T] if all of it is among the T tokens of the last map, else nothing.

    Attention with fewer queries than tokens pools them for the verdict, and is no step between tokens.
    """
    images, tokens = last.values.shape[:2]
    among = all(each.shape[-2] <= tokens == each.shape[-1] for each in weights)
    if last.values.dim() == 4 or not among:
        return []
    return [each.reshape(images, -1, tokens, tokens) for each in weights if each.shape[-2] == tokens]


def _rolled_out(weights: list[Tensor], last: LastMap, images: Tensor) -> Tensor:
    """[N, h, w]: the mean over the tokens that the verdict reads, which are those with a gradient."""
    read = last.gradient.ne(0).any(dim=2).any(dim=0)  # [T]
    return _patches(rollout(weights)[:, read].mean(dim=1), images)


def _grad_cam(last: LastMap, images: Tensor) -> Tensor:
    """[N, h, w]."""
    if last.values.dim() == 4:
        return grad_cam(last.values, last.gradient)
    values, gradient = (_patches(part.transpose(1, 2), images) for part in (last.values, last.gradient))
    if not gradient.any():
        raise UserError(
            f"the verdict reads class tokens of {last.layer!r}, and not all attention is among its tokens: "
            "neither attention rollout nor Grad-CAM is defined; give a detector that averages its tokens"
        )
    return grad_cam(values, gradient)


def _patches(tokens: Tensor, images: Tensor) -> Tensor:
    """[..., T] -> [..., h, w], without the class tokens in front."""
    height, width = token_grid(tokens.shape[-1], images.shape[2:]) or (1, 1)
    return tokens[..., -height * width :].unflatten(-1, (height, width))
