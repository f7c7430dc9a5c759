"""Xception as DeepfakeBench trains it, and FaceForensics++ before it: timm's ``legacy_xception``, exactly."""

from torch import nn

from brevitas_defakeq.detectors.entry import State, benchmark_entry
from brevitas_defakeq.detectors.parts.keys import renamed
from brevitas_defakeq.detectors.parts.timm_model import build_timm
from brevitas_defakeq.detectors.parts.xception import with_4d_pointwise


def build() -> nn.Module:
    """Images [N, 3, 256, 256] (299 for FaceForensics++'s own) to logits [N, 2]."""
    return build_timm("legacy_xception", num_classes=2)


def convert(state: State) -> State:
    """The head's name is ``fc`` here; a head trained with dropout has a number."""
    return with_4d_pointwise(renamed(state, {r"^(backbone|model)\.": "", r"^last_linear(\.1)?\.": "fc."}))


ENTRY = benchmark_entry(
    name="dfb_xception",
    build=build,
    convert=convert,
    description="Xception of DeepfakeBench; FaceForensics++'s own with --input-size 299",
    paper="Rossler et al., ICCV 2019",
    source="DeepfakeBench v1.0.1, xception_best.pth",
    signature=(r"^(backbone|model)\.block12\.rep\.4\.conv1\.weight$", r"\.last_linear\.(1\.)?weight$"),
    unused=(r"^backbone\.adjust_channel\.",),
)
