"""UCF: the encoder and the head of the features that all forgeries share; the rest only trains."""

from torch import nn

from brevitas_defakeq.detectors.entry import State, benchmark_entry
from brevitas_defakeq.detectors.parts.keys import renamed
from brevitas_defakeq.detectors.parts.named_sequential import NamedSequential
from brevitas_defakeq.detectors.parts.timm_model import build_timm
from brevitas_defakeq.detectors.parts.xception import with_4d_pointwise


def build() -> nn.Module:
    """Images [N, 3, 256, 256] to logits [N, 2]."""
    encoder = build_timm("legacy_xception", num_classes=0, global_pool="")
    encoder.act4 = nn.Identity()  # what follows reads the values before their ReLU
    return NamedSequential(
        encoder=encoder,
        adjust_channel=nn.Sequential(nn.Conv2d(2048, 512, 1), nn.BatchNorm2d(512), nn.ReLU(inplace=True)),
        shared=nn.Sequential(
            nn.Conv2d(512, 256, 1), nn.LeakyReLU(0.01), nn.Conv2d(256, 256, 1), nn.LeakyReLU(0.01),
            nn.Conv2d(256, 256, 1),
        ),
        pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        head=nn.Sequential(nn.Linear(256, 512), nn.LeakyReLU(0.01), nn.Linear(512, 2)),
    )  # fmt: skip


def convert(state: State) -> State:
    """The forgery encoder and what reads the shared features."""
    rules = {
        r"^encoder_f\.adjust_channel\.": "adjust_channel.",
        r"^encoder_f\.": "encoder.",
        r"^block_sha\.conv2d\.": "shared.",
        r"^head_sha\.mlp\.": "head.",
    }
    return with_4d_pointwise(renamed(state, rules))


ENTRY = benchmark_entry(
    name="ucf",
    build=build,
    convert=convert,
    description="UCF: Xception and the head of the shared features",
    paper="Yan et al., ICCV 2023",
    source="DeepfakeBench v1.0.1, ucf_best.pth",
    feature="pool",
    signature=(r"^encoder_f\.block12\.rep\.4\.conv1\.weight$", r"^block_sha\.conv2d\.0\.weight$"),
    unused=(
        r"^encoder_f\.last_linear\.", r"^encoder_c\.", r"^con_gan\.", r"^head_spe\.", r"^block_spe\.",
    ),
)  # fmt: skip
