"""The shipped detector, for `defakeq demo`, tests and first steps.

A mobile hybrid of timm's modules: the first three stages of a MobileNetV2 (inverted residuals,
depthwise convolutions, BatchNorm) down to 16 x 16 pixels, a patch embedding to 8 x 8 tokens, then three
transformer blocks of width 192; 1.4 million parameters. It was trained from scratch by
``benchmarks/train_demo.py`` on drawn faces (``brevitas_defakeq.data.procedural``). It knows drawn faces, not
photographs: its verdict on a photograph means nothing.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from brevitas_defakeq.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

#: The weights, float32 safetensors with the names of ``build_demo().state_dict()``.
DEMO_WEIGHTS = Path(__file__).parent / "weights" / "demo.safetensors"
#: For drawn faces of this size.
DEMO_PREPROCESSING = Preprocessing((128, 128), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
#: Seeds of drawn faces from here on are for training and validation; calibrate and test with smaller ones.
DEMO_TRAINING_SEED = 1_000_000


def build_demo() -> nn.Module:
    """The architecture with random weights: images ``[N, 3, 128, 128]`` to logits ``[N, 1]``, > 0 for fake.

    The shipped weights, ``safetensors.torch.load_model(model, DEMO_WEIGHTS)``, know drawn faces only.
    """
    import timm
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed
    from torch import nn

    stem = timm.create_model("mobilenetv2_050", features_only=True, out_indices=(2,))  # [N, 16, 16, 16]
    blocks = stem.get_submodule("blocks")
    assert isinstance(blocks, nn.Sequential)
    stem.blocks = blocks[:3]  # timm keeps the later stages, which nothing reads
    return VisionTransformer(
        img_size=DEMO_PREPROCESSING.input_size,
        patch_size=2,
        embed_dim=192,
        depth=3,
        num_heads=3,
        num_classes=1,
        class_token=False,
        global_pool="avg",
        embed_layer=partial(HybridEmbed, backbone=stem),
    )
