"""timm's architectures through ``quantize`` and ONNX: the share that is quantized, and how far file and model
agree.

    python -m benchmarks.architectures [--only beit_base_patch16_224] [--again] [--table]

Weights are random, BatchNorm statistics those of made-up images; deep networks are cut to few blocks.
Results are kept after each architecture, and one that has its result is not measured again. ``--table`` only
writes the page.
"""

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import timm
import torch
from torch import nn

from benchmarks.tables import markdown
from brevitas_defakeq import DefakeQConfig, export_onnx, quantize
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.storage.weights_transfer import tensors_outside_layers
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_bytes, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "architectures.json", ROOT / "docs" / "architectures.md"
SAMPLES, VERIFIED = 8, 32
#: Share of the parameters that has to be quantized.
WANTED = 0.98

_DEPTHS = {"depths": (1, 1, 1, 1)}
_LAYERS = {"layers": (1, 1, 1, 1)}


@dataclass(frozen=True)
class Architecture:
    """A timm architecture at a small size.

    Attributes:
        side: of its input, in pixels.
        options: for ``timm.create_model``.
        shortened: of blocks in a row that are alike only the first stays.
    """

    family: str
    side: int
    options: dict[str, Any] = field(default_factory=dict)
    shortened: bool = True

    def build(self, name: str) -> nn.Module:
        """The network in evaluation mode, two classes, with weights of seed 0."""
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=2, **self.options)
        if self.shortened:
            shorten_(model)
        liven_(model, made_up_images(self.side))
        return model.eval()


def shorten_(model: nn.Module) -> None:
    """Drop every block that is built like the one before it."""
    for chain in [part for part in model.modules() if type(part) is nn.Sequential]:
        if all(name.isdigit() for name, _ in chain.named_children()):
            kinds = [repr(block) for block in chain]
            for index in range(len(chain) - 1, 0, -1):
                if kinds[index] == kinds[index - 1]:
                    del chain[index]


@torch.no_grad()
def liven_(model: nn.Module, images: torch.Tensor) -> None:
    """BatchNorms with the statistics of ``images``, and no branch whose gain starts at nothing."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.0)
    for name, parameter in model.named_parameters():
        if "gamma" in name or name.endswith(("skipinit_gain", "layer_scale")):
            parameter.uniform_(0.5, 1.0)
    model.train()(images)


def _vit(family: str, side: int = 64) -> Architecture:
    return Architecture(family, side, {"img_size": side, "depth": 2}, shortened=False)


def _swin(family: str, depths: tuple[int, ...]) -> Architecture:
    """Two blocks of a stage differ in their windows' shift."""
    options = {"img_size": 64, "window_size": 4, "depths": depths}
    return Architecture(family, 64, options, shortened=False)


def _plain(family: str, *names: str, side: int = 64, **options: Any) -> dict[str, Architecture]:
    return {name: Architecture(family, side, options) for name in names}


ARCHITECTURES: dict[str, Architecture] = {
    **_plain("RepVGG", "repvgg_a0", "repvgg_a1"),
    **_plain("MobileOne", "mobileone_s0", "mobileone_s1"),
    **_plain("FastViT", "fastvit_t8", "fastvit_sa12", **_LAYERS),
    **_plain("DenseNet", "densenet121", "densenet169", block_config=(2, 2, 2, 2)),
    "xcit_nano_12_p16_224": _vit("XCiT"), "xcit_tiny_12_p8_224": _vit("XCiT"),
    **_plain("ConvNeXt", "convnext_atto", "convnext_tiny", **_DEPTHS),
    **_plain("ConvNeXtV2", "convnextv2_atto", "convnextv2_femto", **_DEPTHS),
    **_plain("HGNet", "hgnetv2_b0", "hgnet_tiny"),
    **_plain("CoAtNet", "coatnet_nano_rw_224", "coatnet_rmlp_nano_rw_224", img_size=64),
    **_plain("MaxViT", "maxvit_nano_rw_256", "maxxvit_rmlp_nano_rw_256", img_size=64),
    **_plain("EfficientViT (MIT)", "efficientvit_b0"),
    **_plain("EfficientViT (MIT)", "efficientvit_l1", **_DEPTHS),
    **_plain("EfficientViT (MSRA)", "efficientvit_m0", "efficientvit_m1", side=224),
    **_plain("MobileNetV2", "mobilenetv2_035", "mobilenetv2_100"),
    **_plain("MobileNetV3", "mobilenetv3_small_075", "mobilenetv3_large_100"),
    **_plain("MobileNetV4", "mobilenetv4_conv_small", "mobilenetv4_hybrid_medium"),
    "eva02_tiny_patch14_224": _vit("EVA-02", 56), "eva02_small_patch14_224": _vit("EVA-02", 56),
    "eva02_base_patch16_clip_224": _vit("EVA-02"),
    "beit_base_patch16_224": _vit("BEiT"), "beitv2_base_patch16_224": _vit("BEiT"),
    "vit_small_patch14_reg4_dinov2": _vit("DINOv2", 56), "vit_base_patch14_reg4_dinov2": _vit("DINOv2", 56),
    "vit_base_patch16_siglip_224": _vit("SigLIP"), "vit_base_patch16_siglip_gap_224": _vit("SigLIP"),
    "vit_base_patch32_clip_224": _vit("CLIP"), "vit_base_patch16_clip_quickgelu_224": _vit("CLIP"),
    "vit_tiny_patch16_224": _vit("ViT"), "deit_tiny_patch16_224": _vit("ViT"),
    "swin_tiny_patch4_window7_224": _swin("Swin", (2, 1, 1, 1)),
    "swin_small_patch4_window7_224": _swin("Swin", (1, 2, 1, 1)),
    "swinv2_tiny_window8_256": _swin("Swin v2", (2, 1, 1, 1)),
    "swinv2_small_window8_256": _swin("Swin v2", (1, 2, 1, 1)),
    **_plain("NFNet", "eca_nfnet_l0", "dm_nfnet_f0"), **_plain("NFNet", "nf_resnet50"),
    **_plain("BiT", "resnetv2_50x1_bit", "resnetv2_101x1_bit"),
    **_plain("RegNet", "regnetx_002", "regnety_002"),
    **_plain("EfficientNet", "efficientnet_b0", "tf_efficientnet_lite0"),
    **_plain("EfficientNetV2", "efficientnetv2_rw_t", "tf_efficientnetv2_b0"),
    **_plain("TinyViT", "tiny_vit_5m_224", "tiny_vit_11m_224", side=224),
    **_plain("EdgeNeXt", "edgenext_xx_small", "edgenext_x_small"),
    **_plain("PoolFormer", "poolformer_s12", "poolformerv2_s12"),
    **_plain("MetaFormer", "caformer_s18", "convformer_s18"),
    **_plain("LeViT", "levit_128s", "levit_conv_128s", side=224),
    **_plain("PVT", "pvt_v2_b0", "pvt_v2_b2_li", **_DEPTHS),
    **_plain("Twins", "twins_pcpvt_small", "twins_svt_small", img_size=64, **_DEPTHS),
    **_plain("GhostNet", "ghostnet_100", "ghostnetv2_100"),
    "hrnet_w18_small": Architecture("HRNet", 64, shortened=False),
    "hrnet_w18_small_v2": Architecture("HRNet", 64, shortened=False),
    **_plain("ResNet", "resnet18"), **_plain("ResNet", "resnet50", **_LAYERS),
    **_plain("ResNeSt", "resnest14d", "resnest26d"),
    **_plain("RexNet", "rexnet_100", "rexnet_130"),
    **_plain("SelecSLS", "selecsls42b", "selecsls60"),
    **_plain("VovNet", "ese_vovnet19b_dw", "ese_vovnet39b"),
    **_plain("DLA", "dla34", "dla46_c"),
    **_plain("Inception", "inception_v3", "inception_v4", "inception_resnet_v2", side=96),
    **_plain("InceptionNeXt", "inception_next_atto", "inception_next_tiny", **_DEPTHS),
    **_plain("Xception", "legacy_xception", "xception41"),
}  # fmt: skip


def recipe() -> DefakeQConfig:
    """Every stage of the best recipe with a step or two, for integer kernels."""
    config = DefakeQConfig.for_recipe("best", average_bits=3.0, target="mobile", samples=SAMPLES)
    return replace(
        config, reconstruction=replace(config.reconstruction, iterations=1, batch_size=4),
        final=replace(config.final, steps=1, batch_size=4), haq=replace(config.haq, relaxed_steps=20),
    )  # fmt: skip


def measure(name: str) -> dict[str, Any]:
    """What is quantized, what stays float, and how far ONNX file and model agree."""
    architecture, start = ARCHITECTURES[name], perf_counter()
    preprocessing = Preprocessing((architecture.side, architecture.side))
    images = made_up_images(architecture.side)
    model = architecture.build(name)
    result = quantize(model, images[:SAMPLES], recipe(), preprocessing=preprocessing)
    with tempfile.TemporaryDirectory() as folder:
        card = export_onnx(result, folder, verify=images)
    return {
        "family": architecture.family, "input_size": architecture.side, "options": architecture.options,
        "shortened": architecture.shortened, "layers": len(result.plan.layers),
        **shares(result.quantized, result.plan),
        "left_float": result.plan.left_float, "agreement": card.provenance["agreement"],
        "seconds": round(perf_counter() - start, 1),
    }  # fmt: skip


def made_up_images(side: int) -> torch.Tensor:
    """Smooth ones of different colour and contrast, that networks with random weights tell apart."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(VERIFIED, 3, 8, 8, generator=generator)
    images = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    contrast = torch.rand(VERIFIED, 1, 1, 1, generator=generator) * 2
    return images * contrast + torch.randn(VERIFIED, 3, 1, 1, generator=generator)


def shares(model: nn.Module, plan: Plan) -> dict[str, Any]:
    """Numbers of parameters, and what is outside quantized layers and 8-bit embeddings, by module class.

    They are counted in the prepared network: BatchNorms that are folded are in it no more.
    """
    modules, own = dict(model.named_modules()), dict(model.named_parameters())
    quantized = sum(layer.num_params + layer.weight_shape[0] for layer in plan.layers)
    outside: Counter[str] = Counter()
    for kind, name, tensor in tensors_outside_layers(model, plan):
        if name not in own:
            continue
        if kind in ("embedding", "grid"):
            quantized += tensor.numel()
        else:
            module, _, parameter = name.rpartition(".")
            norm = "Norm" in type(modules[module]).__name__
            outside[type(modules[module]).__name__ + ("" if norm else f".{parameter}")] += tensor.numel()
    total = quantized + sum(outside.values())
    return {"parameters": total, "share": quantized / total, "outside": dict(outside)}


def measured(name: str) -> dict[str, Any]:
    """`measure`, or the line with which it was refused."""
    try:
        return measure(name)
    except UserError as error:
        return {"family": ARCHITECTURES[name].family, "failed": str(error)}


def page(found: dict[str, Any]) -> str:
    """The page of the documentation, from the results."""
    done = {name: found[name] for name in ARCHITECTURES if name in found}
    rows = [_row(name, entry) for name, entry in done.items()]
    columns = ("family", "architecture", "parameters", "quantized", "outside", "layers in float", "ONNX")
    least = min((entry["share"] for entry in done.values() if "share" in entry), default=0.0)
    return (
        "# Architectures\n\n"
        f"{len(done)} timm architectures with random weights, cut to few blocks, were quantized and exported "
        f"with\n`python -m benchmarks.architectures`; at least {100 * least:.1f} % of the parameters of each "
        "are quantized.\n\n"
        "- quantized: share of the parameters that is in quantized layers or in 8-bit embeddings.\n"
        "- outside: what the others are; they are kept in half precision, matrices in float.\n"
        "- ONNX: root mean square difference between the scores of file and model over the scores' spread; "
        "beside it how\n  far the model's own scores move when it computes in float64.\n\n"
        + markdown(columns, rows)
    )  # fmt: skip


def _row(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    if "failed" in entry:
        return (entry["family"], f"`{name}`", "", "", "", entry["failed"], "")
    agreement = entry["agreement"]
    largest = sorted(entry["outside"].items(), key=lambda item: -item[1])[:3]
    outside = ", ".join(f"{kind} {100 * size / entry['parameters']:.2f} %" for kind, size in largest)
    return (
        entry["family"], f"`{name}`", f"{entry['parameters'] / 1e6:.2f} M", f"{100 * entry['share']:.2f} %",
        outside, _reasons(entry["left_float"]),
        f"{100 * agreement['difference']:.2f} % ({100 * agreement['unrest']:.2f} %)",
    )  # fmt: skip


def _reasons(left_float: dict[str, str]) -> str:
    counts = Counter(left_float.values())
    return "; ".join(f"{count} x {reason}" if count > 1 else reason for reason, count in counts.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=ARCHITECTURES, nargs="+")
    parser.add_argument("--again", action="store_true", help="measure anew what has a result")
    parser.add_argument("--table", action="store_true", help="only write the page")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = json.loads(options.out.read_text())["architectures"] if options.out.exists() else {}
    for name in [] if options.table else options.only or ARCHITECTURES:
        if name in found and "failed" not in found[name] and not options.again:
            continue
        found[name] = measured(name)
        print(name, found[name].get("failed") or f"{100 * found[name]['share']:.2f} %", flush=True)
        write_json(options.out, {"architectures": found, "provenance": provenance(0)})
    if options.out == RESULTS:
        write_bytes(PAGE, page(found).encode())


if __name__ == "__main__":
    main()
