"""The detectors that the benchmarks on real faces measure, each read from the data folder's ``weights/``."""

from functools import partial
from pathlib import Path

import torch
from plain_vit import PREPROCESSING, plain_vit
from torch import nn

from brevitas_defakeq.data.preprocessing import Preprocessing
from brevitas_defakeq.detectors.checkpoint import load_weights
from brevitas_defakeq.detectors.resolve import Detector, resolve

_HALF = (0.5, 0.5, 0.5)


def mobilenet(data: Path) -> Detector:
    """timm mobilenetv2_035 at 192 x 192, trained on the ``train`` split."""
    return resolve(
        "mobilenetv2_035", weights=data / "weights/trained/mobilenetv2_035_faces256.pth", input_size=192,
        model_args={"pad_type": "same", "bn_eps": 1e-3}, interpolation="bilinear", mean=0.5, std=0.5,
    )  # fmt: skip


def hybrid(data: Path) -> Detector:
    """The first five stages of mobilenetv2_035 under a four-block transformer, 224 x 224."""
    import timm
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed

    stem = timm.create_model(
        "mobilenetv2_035", features_only=True, out_indices=(3,), pad_type="same", bn_eps=1e-3
    )
    stem.blocks = stem.blocks[:5]
    model = VisionTransformer(
        img_size=224, patch_size=1, embed_dim=192, depth=4, num_heads=3, num_classes=1,
        embed_layer=partial(HybridEmbed, backbone=stem),
    )  # fmt: skip
    load_weights(model, data / "weights/trained/hybrid_faces256.pth")
    return Detector(model.eval(), "hybrid", Preprocessing((224, 224), "bilinear", _HALF, _HALF))


class ClassNSeg(nn.Module):
    """Encoder of Nguyen et al. (BTAS 2019), nine 3x3 convolutions; the score compares two halves of it."""

    #: (channels, stride) of each convolution. Strides seen to give the AUC that SOURCE.md cites (.682).
    _LAYERS = ((8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 2), (64, 1), (64, 2), (128, 1))

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for after, stride in self._LAYERS:
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            before = after
        self.encoder = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        latent = self.encoder(images).view(-1, 2, 64, 16, 16).abs().mean(dim=(2, 3, 4))  # [N, 2]
        return latent[:, 1:] - latent[:, :1]


def classnseg(data: Path) -> Detector:
    """The published ClassNSeg encoder at 256 x 256."""
    model = ClassNSeg()
    load_weights(model, data / "weights/classnseg/full/encoder_46.pt")
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Detector(model.eval(), "classnseg", Preprocessing((256, 256), "bilinear", *imagenet))


def vit(data: Path) -> Detector:
    """What ``benchmarks/plain_vit.py`` trains; its weights lie beside it and stay out of the repository."""
    model = plain_vit()
    load_weights(model, Path(__file__).with_name("plain_vit.safetensors"))
    return Detector(model, "plain_vit", PREPROCESSING)


DETECTORS = {"mobilenetv2_035": mobilenet, "hybrid": hybrid, "classnseg": classnseg, "plain_vit": vit}
