"""The detectors that ``python -m benchmarks`` quantizes: four families that know drawn faces.

The bundled one comes with the package, the others are trained by ``benchmarks/train_vehicles.py``; their
weights stand in ``benchmarks/weights`` in half precision. All take drawn faces of 128 x 128.
"""

from pathlib import Path

from torch import nn

from brevitas_defakeq.detectors.checkpoint import read_checkpoint
from brevitas_defakeq.detectors.demo_detector import DEMO_PREPROCESSING
from brevitas_defakeq.detectors.load_weights import load_state
from brevitas_defakeq.detectors.resolve import Detector, resolve

_SIDE = DEMO_PREPROCESSING.input_size[0]


def resnet() -> nn.Module:
    """Residual blocks of two 3 x 3 convolutions, one a stage, 16 to 128 channels; 0.3 million parameters."""
    from timm.models.resnet import BasicBlock, ResNet

    return ResNet(
        BasicBlock, (1, 1, 1, 1), num_classes=1, stem_type="deep", stem_width=8, channels=(16, 32, 64, 128)
    )


def mobilenet() -> nn.Module:
    """MobileNetV3 of half the width: depthwise convolutions, squeeze-excitation, hard-swish."""
    import timm

    return timm.create_model("mobilenetv3_small_050", num_classes=1)


def vit() -> nn.Module:
    """Four blocks of width 96 on 8 x 8 patches, mean of the tokens; 0.5 million parameters."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=_SIDE, patch_size=8, embed_dim=96, depth=4, num_heads=3, num_classes=1,
        class_token=False, global_pool="avg",
    )  # fmt: skip


VEHICLES = {"resnet": resnet, "mobilenet": mobilenet, "vit": vit}


def weights_of(name: str) -> Path:
    return Path(__file__).parent / "weights" / f"{name}.safetensors"


def detector(name: str) -> Detector:
    """``demo`` or one of ``VEHICLES``, with its weights."""
    if name == "demo":
        return resolve("demo")
    model = VEHICLES[name]()
    load_state(model, read_checkpoint(weights_of(name)), source=str(weights_of(name)))
    return Detector(model.float().eval(), name, DEMO_PREPROCESSING)
