"""EfficientNet-B4 as DeepfakeBench trains it (its ``effnb4`` and its own SBI): the stem does not pad."""

from torch import nn

from brevitas_defakeq.detectors.entry import State, benchmark_entry
from brevitas_defakeq.detectors.parts.efficientnet import efficientnet_b4, efficientnet_to_timm
from brevitas_defakeq.detectors.parts.keys import renamed


def build() -> nn.Module:
    """Images [N, 3, 256, 256] to logits [N, 2]."""
    return efficientnet_b4(padded_stem=False, num_classes=2)


def convert(state: State) -> State:
    """The head's name is ``classifier`` here."""
    named = efficientnet_to_timm(state, "backbone.efficientnet.")
    return renamed(named, {r"^backbone\.last_layer\.": "classifier."})


ENTRY = benchmark_entry(
    name="dfb_efficientnet_b4",
    build=build,
    convert=convert,
    description="EfficientNet-B4 of DeepfakeBench, and its own SBI",
    paper="Tan and Le, ICML 2019; Yan et al., NeurIPS 2023",
    source="DeepfakeBench v1.0.1, effnb4_best.pth",
    signature=(r"^backbone\.efficientnet\._blocks\.31\.", r"^backbone\.last_layer\.weight$"),
    unused=(r"^backbone\.efficientnet\._fc\.",),
)
