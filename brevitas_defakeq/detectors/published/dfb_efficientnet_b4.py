"""EfficientNet-B4 as DeepfakeBench trains it (its ``effnb4`` and its own SBI): the stem does not pad."""

from brevitas_defakeq.detectors.entry import BENCHMARK, DetectorEntry, State
from brevitas_defakeq.detectors.parts.efficientnet import efficientnet_b4, timm_names
from brevitas_defakeq.detectors.parts.keys import renamed


def build():
    """Images [N, 3, 256, 256] to logits [N, 2]."""
    return efficientnet_b4(padded_stem=False, num_classes=2)


def convert(state: State) -> State:
    """The head's name is ``classifier`` here."""
    named = timm_names(state, "backbone.efficientnet.")
    return renamed(named, {r"^backbone\.last_layer\.": "classifier."})


ENTRY = DetectorEntry(
    name="dfb_efficientnet_b4",
    build=build,
    convert=convert,
    description="EfficientNet-B4 of DeepfakeBench, and its own SBI",
    paper="Tan and Le, ICML 2019; Yan et al., NeurIPS 2023",
    source="DeepfakeBench v1.0.1, effnb4_best.pth",
    signature=(r"^backbone\.efficientnet\._blocks\.31\.", r"^backbone\.last_layer\.weight$"),
    unused=(r"^backbone\.efficientnet\._fc\.",),
    **BENCHMARK,
)
