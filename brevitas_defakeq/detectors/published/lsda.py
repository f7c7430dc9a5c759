"""LSDA: its student, an EfficientNet-B4 with a narrow neck; the teachers only train."""

from torch import nn

from brevitas_defakeq.detectors.entry import State, benchmark_entry
from brevitas_defakeq.detectors.parts.efficientnet import efficientnet_b4, efficientnet_to_timm
from brevitas_defakeq.detectors.parts.keys import renamed
from brevitas_defakeq.detectors.parts.named_sequential import NamedSequential


def build() -> nn.Module:
    """Images [N, 3, 256, 256] to logits [N, 2]."""
    return NamedSequential(
        encoder=efficientnet_b4(padded_stem=True, num_classes=0, global_pool=""),
        neck=nn.Conv2d(1792, 512, 1),
        pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        head=nn.Sequential(nn.Linear(512, 512), nn.LeakyReLU(0.01), nn.Linear(512, 2)),
    )


def convert(state: State) -> State:
    """Student and classifier; of the classifier's five parts the first two have no weights."""
    rules = {
        r"^model\.student_encoder\.conv\.": "neck.",
        r"^model\.binary_classifier\.2\.": "head.0.",
        r"^model\.binary_classifier\.4\.": "head.2.",
    }
    return renamed(efficientnet_to_timm(state, "model.student_encoder.model.", to="encoder."), rules)


ENTRY = benchmark_entry(
    name="lsda",
    build=build,
    convert=convert,
    description="the student of LSDA (EfficientNet-B4)",
    paper="Yan et al., CVPR 2024",
    source="trained with DeepfakeBench; no official weights are published",
    feature="pool",
    signature=(r"^model\.student_encoder\.conv\.weight$", r"^model\.binary_classifier\.4\.weight$"),
    unused=(
        r"^model\.(encoders_f|encoder_c|fc_weights|mlp)\b", r"^model\.student_encoder\.model\._fc\.",
    ),
)  # fmt: skip
