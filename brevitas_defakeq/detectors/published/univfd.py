"""UnivFD: a Linear head on CLIP ViT-L/14's image embedding. Two files of weights: the body's, the head's."""

from typing import Any

from torch import nn

from brevitas_defakeq.detectors.entry import CLIP_STATISTICS, DetectorEntry, State
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.parts.clip import clip_to_timm, clip_vit_large
from brevitas_defakeq.detectors.parts.keys import renamed
from brevitas_defakeq.detectors.parts.named_sequential import NamedSequential
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing


def build(**model_args: Any) -> nn.Module:
    """Images [N, 3, 224, 224] to one logit [N, 1]; ``depth=2`` and the like are timm's."""
    body = clip_vit_large(0, **model_args)
    return NamedSequential(
        body=body, proj=nn.Linear(body.num_features, 768, bias=False), fc=nn.Linear(768, 1)
    )


def convert(state: State) -> State:
    """CLIP's vision tower as OpenAI or ``transformers`` name it; the head's file has bare names."""
    rules = {
        r"^(weight|bias)$": r"fc.\1",
        r"^(model\.)?visual\.proj$": "proj.transposed",
        r"^(model\.)?visual_projection\.": "proj.",
        r"^(model\.)?(visual|vision_model)\.": "",
    }
    named = clip_to_timm(renamed(state, rules))
    if "proj.transposed" in named:  # OpenAI's is [1024, 768], to be multiplied from the right
        named["proj.weight"] = named.pop("proj.transposed").T
    own = ("fc.", "proj.")
    return {
        name if name.startswith(own) else f"body.{name}": tensor.float().contiguous()  # OpenAI's are halves
        for name, tensor in named.items()
    }


ENTRY = DetectorEntry(
    name="univfd",
    build=build,
    convert=convert,
    description="UnivFD: a Linear head on CLIP ViT-L/14's image embedding; the image's centre, not a face",
    licence="MIT",
    paper="Ojha et al., CVPR 2023",
    source="OpenAI's ViT-L/14 and the authors' fc_weights.pth: give --weights twice",
    preprocessing=Preprocessing((224, 224), "bicubic", *CLIP_STATISTICS, fit="centre"),
    crop=Crop("whole"),
    output=OutputSpec("logit"),
    signature=(r"(visual|vision_model)\..*(resblocks|layers)\.23\.", r"^(fc\.)?weight$"),
    unused=(
        r"^(model\.)?(transformer|text_model)\.", r"(^|\.)(token_embedding|ln_final)\.",
        r"(^|\.)(logit_scale|positional_embedding_text|text_projection(\.weight)?|position_ids)$",
        r"^(model\.)?positional_embedding$", r"^(model\.)?(input_resolution|context_length|vocab_size)$",
    ),
)  # fmt: skip
