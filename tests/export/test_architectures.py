"""Every architecture that the project names, exported for integer kernels, with random weights."""

from functools import partial

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import HybridEmbed

from brevitas_defakeq import export_onnx, quantize
from brevitas_defakeq.demo import drawn_calibration
from brevitas_defakeq.imaging.preprocessing import Preprocessing


def hybrid():
    """Convolutions under a transformer."""
    stem = timm.create_model("mobilenetv2_035", features_only=True, out_indices=(3,), pad_type="same")
    stem.blocks = stem.blocks[:5]
    embed = partial(HybridEmbed, backbone=stem)
    return VisionTransformer(
        img_size=96, patch_size=1, embed_dim=64, depth=2, num_heads=2, num_classes=1, embed_layer=embed
    )


def by_timm(name: str, **options):
    return partial(timm.create_model, name, num_classes=1, **options)


#: name -> (maker, side of the input, operators that have to run on integers at least so often)
ARCHITECTURES = {
    "deit_tiny": (by_timm("deit_tiny_patch16_224"), 224, {"MatMulIntegerToFloat": 48, "QLinearMatMul": 12}),
    "vit_tiny": (by_timm("vit_tiny_patch16_224", img_size=96), 96, {"MatMulIntegerToFloat": 48}),
    "swin_tiny": (by_timm("swin_tiny_patch4_window7_224"), 224, {"MatMulIntegerToFloat": 48}),
    "resnet50": (by_timm("resnet50"), 96, {"QLinearConv": 53}),
    "efficientnet_b0": (by_timm("efficientnet_b0"), 96, {"QLinearConv": 80}),
    "mobilenetv2": (by_timm("mobilenetv2_050"), 96, {"QLinearConv": 52}),
    "mobilenetv3": (by_timm("mobilenetv3_small_075"), 96, {"QLinearConv": 30}),
    "convnext": (by_timm("convnext_atto"), 96, {"QLinearConv": 35}),
    "xception": (by_timm("legacy_xception"), 96, {"QLinearConv": 74}),
    "hybrid": (hybrid, 96, {"QLinearConv": 30, "MatMulIntegerToFloat": 8}),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_file_agrees_with_the_model(name, quick_config, randomized, tmp_path):
    make, side, wanted = ARCHITECTURES[name]
    preprocessing = Preprocessing((side, side))
    images = drawn_calibration(preprocessing, 64)[0]
    torch.manual_seed(0)
    config = quick_config(
        target="mobile",
        samples=16,
        reconstruction__iterations=2,
        final__steps=0,
        reconstruction__batch_size=4,
    )
    run = quantize(randomized(make()), images[:16], config, preprocessing=preprocessing)
    for variant in ("quantized", "mixed"):
        card = export_onnx(run, tmp_path / variant, variant=variant, verify=images)
        found = card.provenance["agreement"]
        # Untrained networks hardly tell images apart: what flips one code moves the score by its own spread.
        assert found["images"] == 64 and found["verdicts"] >= 0.95, found
        assert found["difference"] < 0.02 + 2 * found["unrest"], found
        for operator, count in wanted.items():
            assert card.patterns.get(f"runs as {operator}", 0) >= count, card.patterns
        assert not any(pattern.startswith("unsigned") for pattern in card.patterns)
