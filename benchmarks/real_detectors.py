"""The detectors that the benchmarks on real faces measure, each read from the data folder's ``weights/``,
and the fair pairs of its photographs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.plain_vit import PREPROCESSING, plain_vit
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.detectors.checkpoint import read_checkpoint
from brevitas_defakeq.detectors.load_weights import load_state
from brevitas_defakeq.detectors.resolve import Detector, resolve
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.imaging.sample import Sample

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
    weights = data / "weights/trained/hybrid_faces256.pth"
    load_state(model, read_checkpoint(weights), source=str(weights))
    return Detector(model.eval(), "hybrid", Preprocessing((224, 224), "bilinear", _HALF, _HALF))


def classnseg(data: Path) -> Detector:
    """The published ClassNSeg encoder at 256 x 256."""
    return resolve("classnseg", weights=data / "weights/classnseg/full/encoder_46.pt")


def vit(data: Path) -> Detector:
    """What ``benchmarks/plain_vit.py`` trains; its weights are beside it, not in the repository."""
    model = plain_vit()
    weights = Path(__file__).with_name("plain_vit.safetensors")
    load_state(model, read_checkpoint(weights), source=str(weights))
    return Detector(model, "plain_vit", PREPROCESSING)


def clip(data: Path) -> Detector:
    """CLIP ViT-B/16 with a head fitted on photographs, 224 x 224; ``make_clip.py`` makes its weights."""
    import timm

    weights = data / "registry_models/clip_vitb16_faces256.safetensors"
    model = timm.create_model("vit_base_patch16_clip_quickgelu_224", num_classes=1)
    load_state(model, read_checkpoint(weights), source=str(weights))
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return Detector(model.eval(), "clip", Preprocessing((224, 224), "bicubic", mean, std))


DETECTORS = {
    "mobilenetv2_035": mobilenet, "hybrid": hybrid, "classnseg": classnseg, "plain_vit": vit, "clip": clip
}  # fmt: skip


#: Name -> the CSV beside ``test.csv`` that lists it: real and fake of the same source and pipeline.
FAIR_PAIRS = {"ffhq/tpdne": "test_pair_ffhq_tpdne.csv", "cip": "test_pair_cip.csv"}


def fair_pairs(samples: Sequence[Sample], data: Path) -> dict[str, np.ndarray]:
    """Name of a fair pair -> mask [N] of the samples that are in it."""
    files = [sample.path.resolve() for sample in samples]
    members = {
        name: {sample.path.resolve() for sample in read_source(data / "faces256" / file)}
        for name, file in FAIR_PAIRS.items()
    }
    return {name: np.array([file in inside for file in files]) for name, inside in members.items()}
