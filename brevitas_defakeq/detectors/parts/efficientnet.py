"""EfficientNet-B4 as the package ``efficientnet_pytorch`` computes it, from timm's modules.

That package computes TensorFlow's 'same' padding once, for 380 x 380, and keeps it at every input size,
while timm computes it for each input. At 256 x 256 one convolution differs by a pixel, so the padding
is fixed here.
"""

import re
from typing import Any

from timm.models.efficientnet import EfficientNet
from torch import nn

from brevitas_defakeq.detectors.entry import State
from brevitas_defakeq.detectors.parts.timm_model import build_timm
from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.nn.static_padding import with_static_padding

#: The convolutions of stride 2 -> (left, right, top, bottom); all others have stride 1 and pad evenly.
_PADDINGS = {
    "conv_stem": (0, 1, 0, 1),
    "blocks.1.0.conv_dw": (0, 1, 0, 1),
    "blocks.2.0.conv_dw": (2, 2, 2, 2),
    "blocks.3.0.conv_dw": (0, 1, 0, 1),
    "blocks.5.0.conv_dw": (1, 2, 1, 2),
}
#: Blocks in each of the seven stages; a published checkpoint numbers them consecutively.
_STAGES = (2, 4, 4, 6, 6, 8, 2)
_BLOCKS = [(stage, index) for stage, count in enumerate(_STAGES) for index in range(count)]
_OUTSIDE_BLOCKS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
#: The first stage's blocks do not expand, so their parts have other numbers.
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"} | _SQUEEZE
_OTHER = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
} | _SQUEEZE  # fmt: skip


def efficientnet_b4(*, padded_stem: bool, **head: Any) -> EfficientNet:
    """timm's EfficientNet-B4 with those paddings; ``head`` is timm's ``num_classes``, ``global_pool``."""
    model = build_timm("tf_efficientnet_b4", **head)
    assert isinstance(model, EfficientNet)
    for name, padding in _PADDINGS.items():
        old = modules_by_name(model)[name]
        assert isinstance(old, nn.Conv2d)
        fixed = padding if padded_stem or name != "conv_stem" else (0, 0, 0, 0)
        replace_module(model, old, with_static_padding(old, fixed))
    return model


def efficientnet_to_timm(state: State, prefix: str, to: str = "") -> State:
    """The tensors under ``prefix`` renamed to timm's names under ``to``; the others unchanged."""
    return {
        to + _timm_name(name.removeprefix(prefix)) if name.startswith(prefix) else name: tensor
        for name, tensor in state.items()
    }


def _timm_name(inner: str) -> str:
    found = re.match(r"_blocks\.(\d+)\.(_\w+)(\..*)$", inner)
    if found and int(found[1]) < len(_BLOCKS):
        stage, index = _BLOCKS[int(found[1])]
        part = (_OTHER if stage else _FIRST).get(found[2], found[2])
        return f"blocks.{stage}.{index}.{part}{found[3]}"
    part, dot, rest = inner.partition(".")
    return f"{_OUTSIDE_BLOCKS.get(part, part)}{dot}{rest}"
