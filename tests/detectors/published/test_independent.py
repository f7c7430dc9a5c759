"""Detectors without a numeric reference, each against a computation of its own; the test says which."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from reference import checkpoint_of, made, outputs
from torch import nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

from brevitas_defakeq.detectors.load_weights import load_detector_weights
from brevitas_defakeq.detectors.parts.meso import MESO4, MESO_INCEPTION4, from_keras
from brevitas_defakeq.detectors.parts.wavelet import folded, wavelet_head
from brevitas_defakeq.detectors.registry import REGISTRY
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.imaging.preprocessing import preprocess_array

DATA = Path(__file__).parents[4] / "shared" / "data"
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "patch_size": 14}
LARGE |= {"num_hidden_layers": 2, "projection_dim": 768, "image_size": 224}
IMAGES = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def filled(model, gain=1.0):
    """The model with every tensor drawn from its name."""
    model.load_state_dict({name: made(name, tuple(t.shape), gain) for name, t in model.state_dict().items()})
    return model.eval()


def loaded(name, state, **model_args):
    entry = REGISTRY[name]
    model = entry.build(**model_args).eval()
    load_detector_weights(model, state, entry, source=name)
    return model


def clip(kind):
    """CLIP's vision tower as ``transformers`` computes it, two blocks deep."""
    return filled(kind(CLIPVisionConfig(hidden_act="quick_gelu", attention_dropout=0.0, **LARGE)))


@torch.no_grad()
def test_sbi_against_timm():
    """timm's own 'same' padding at 380 pixels is what the published network has fixed."""
    theirs = filled(timm.create_model("tf_efficientnet_b4", num_classes=2), gain=1.35)
    ours = REGISTRY["sbi"].build().eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 380, 380, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)
    smaller = images[..., :256, :256]
    features = [model.forward_features(smaller) for model in (ours, theirs)]
    assert not torch.allclose(*features, rtol=1e-2, atol=1e-2)  # the padding stays that of 380


@torch.no_grad()
def test_effort_against_transformers():
    """Residuals in the attention layers, computed unmerged by ``transformers``' tower."""
    theirs, head = clip(CLIPVisionModel), nn.Linear(1024, 2)
    state = {f"backbone.{name.removeprefix('vision_model.')}": t for name, t in theirs.state_dict().items()}
    state |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    draw = torch.Generator().manual_seed(1)
    for name in [name for name in state if ".self_attn." in name and name.endswith(".weight")]:
        left, right = torch.randn(1024, 1, generator=draw) / 32, torch.randn(1, 1024, generator=draw)
        size, layer = torch.rand(1, generator=draw), name.removesuffix("weight")
        whole = state.pop(name)
        state |= {f"{layer}weight_main": whole - left @ torch.diag(size) @ right, f"{layer}U_residual": left}
        state |= {f"{layer}S_residual": size, f"{layer}V_residual": right, f"{layer}S_r": torch.zeros(3)}
    ours = loaded("effort", state, depth=2)
    torch.testing.assert_close(ours(IMAGES), head(theirs(IMAGES).pooler_output), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("names", ["transformers", "openai"])
def test_univfd_against_transformers(names):
    theirs, head = clip(CLIPVisionModelWithProjection), nn.Linear(768, 1)
    state = dict(theirs.state_dict())
    if names == "openai":
        state = as_openai(state)
    state |= dict(head.state_dict())  # bare "weight" and "bias", as in fc_weights.pth
    ours = loaded("univfd", state, depth=2)
    torch.testing.assert_close(ours(IMAGES), head(theirs(IMAGES).image_embeds), rtol=1e-4, atol=1e-4)


def as_openai(state):
    """The same tensors under the names of OpenAI's own file, the text tower's embedding beside them."""
    plain = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    }
    parts = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    result = {"token_embedding.weight": torch.zeros(3, 2), "logit_scale": torch.zeros(())}
    for name, tensor in state.items():
        if name == "visual_projection.weight":
            result["visual.proj"] = tensor.T
        elif name in plain:
            result[plain[name]] = tensor
        elif "layers" not in name:
            side = "pre" if "pre_layrnorm" in name else "post"
            result[f"visual.ln_{side}.{name.rpartition('.')[2]}"] = tensor
        elif "_proj" in name and "out_proj" not in name:
            layer, kind = name.split(".")[3], name.rpartition(".")[2]
            stem = f"vision_model.encoder.layers.{layer}.self_attn"
            whole = torch.cat([state[f"{stem}.{letter}_proj.{kind}"] for letter in "qkv"])
            result[f"visual.transformer.resblocks.{layer}.attn.in_proj_{kind}"] = whole
        else:
            _, _, _, layer, *rest = name.split(".")
            inner, kind = ".".join(rest[:-1]), rest[-1]
            inner = "attn.out_proj" if "out_proj" in inner else parts[inner]
            result[f"visual.transformer.resblocks.{layer}.{inner}.{kind}"] = tensor
    return result


def test_the_folded_wavelet_head_is_the_head():
    """Against the published chain, on the reference's own input for the head alone."""
    stored = outputs("wavelet_clip")
    parts = checkpoint_of("wavelet_clip", ("dwt.", "idwt.", "slp.", "head."))
    features = torch.from_numpy(np.random.default_rng(9).standard_normal((2, 1024)).astype(np.float32))
    np.testing.assert_allclose(
        wavelet_head(features, parts), stored["head_only_logits"], rtol=1e-4, atol=1e-5
    )
    head = folded(parts)
    assert set(head) == {"head.weight", "head.bias"}
    one = F.linear(features, head["head.weight"], head["head.bias"])
    np.testing.assert_allclose(one, stored["head_only_logits"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(head["head.weight"], stored["collapsed_head_weight"], rtol=1e-4, atol=1e-6)


def keras_tensors(name, convolutions):
    """Random tensors of a Keras file: names, shapes and order of axes as the authors' code gives them."""
    draw = np.random.default_rng(3)
    model = REGISTRY[name].build()
    modules, tensors = dict(model.named_modules()), {}
    for number, place in enumerate(convolutions, start=5):
        weight = modules[place].weight
        out, into, height, width = weight.shape
        scale = 1.4 / np.sqrt(into * height * width)
        tensors[f"conv2d_{number}/kernel"] = scale * draw.standard_normal((height, width, into, out))
        tensors[f"conv2d_{number}/bias"] = 0.1 * draw.standard_normal(out)
    for number in range(4):
        width = modules[f"stages.{number}.norm"].num_features
        for part, values in (
            ("gamma", 1 + 0.1 * draw.standard_normal(width)),
            ("beta", draw.standard_normal(width)),
            ("moving_mean", draw.standard_normal(width)),
            ("moving_variance", draw.random(width) + 0.1),
        ):
            tensors[f"batch_normalization_{number + 9}/{part}"] = values
    for number, shape in ((3, (1024, 16)), (4, (16, 1))):
        tensors[f"dense_{number}/kernel"] = draw.standard_normal(shape) / np.sqrt(shape[0])
        tensors[f"dense_{number}/bias"] = draw.standard_normal(shape[1])
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in tensors.items()}


class ByHand:
    """The authors' network step by step on Keras' tensors, which it takes in the order of their numbers."""

    def __init__(self, tensors):
        layers = {name.rpartition("/")[0] for name in tensors}
        ordered = sorted(layers, key=lambda layer: int(layer.rpartition("_")[2]))
        self.tensors = tensors
        self.rest = {kind: [layer for layer in ordered if layer.startswith(kind)]
                     for kind in ("conv2d", "batch", "dense")}  # fmt: skip

    def next(self, kind, *parts):
        layer = self.rest[kind].pop(0)
        return [self.tensors[f"{layer}/{part}"] for part in parts]

    def convolution(self, x, dilation=1):
        kernel, bias = self.next("conv2d", "kernel", "bias")
        side = dilation * (kernel.shape[0] - 1) // 2
        return F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=side, dilation=dilation).relu()

    def norm(self, x):
        gamma, beta, mean, variance = self.next("batch", "gamma", "beta", "moving_mean", "moving_variance")
        scale = gamma / (variance + 1e-3).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + beta[:, None, None]

    def inception(self, x):
        branches = [self.convolution(x)]
        for dilation in (1, 2, 3):
            branches.append(self.convolution(self.convolution(x), dilation))
        return torch.cat(branches, 1)

    def classify(self, x):
        x = x.permute(0, 2, 3, 1).flatten(1)  # places before channels
        kernel, bias = self.next("dense", "kernel", "bias")
        x = F.leaky_relu(x @ kernel + bias, 0.1)
        kernel, bias = self.next("dense", "kernel", "bias")
        return x @ kernel + bias

    def meso4(self, x):
        for pool in (2, 2, 2, 4):
            x = F.max_pool2d(self.norm(self.convolution(x)), pool)
        return self.classify(x)

    def meso_inception4(self, x):
        for _ in range(2):
            x = F.max_pool2d(self.norm(self.inception(x)), 2)
        for pool in (2, 4):
            x = F.max_pool2d(self.norm(self.convolution(x)), pool)
        return self.classify(x)


@torch.no_grad()
@pytest.mark.parametrize(("name", "convolutions"), [("meso4", MESO4), ("meso_inception4", MESO_INCEPTION4)])
def test_keras_mesos_by_hand(name, convolutions, tmp_path):
    """From a Keras file and from .npz, against the authors' network worked by hand."""
    import h5py

    tensors = keras_tensors(f"{name}_keras", convolutions)
    np.savez(tmp_path / "weights.npz", **{key: tensor.numpy() for key, tensor in tensors.items()})
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for key, tensor in tensors.items():
            layer, _, part = key.rpartition("/")
            file[f"{layer}/{layer}/{part}:0"] = tensor.numpy()
    images = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    wanted = getattr(ByHand(tensors), name)(images)
    for file in ("weights.npz", "weights.h5"):
        found = resolve(f"{name}_keras", weights=tmp_path / file)
        torch.testing.assert_close(found.model(images), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            found.output.fake_logit(found.model(images)), -wanted[:, 0], rtol=1e-4, atol=1e-4
        )
    assert set(from_keras(tensors, convolutions)) <= set(found.model.state_dict())


@torch.no_grad()
@pytest.mark.skipif(not DATA.exists(), reason="real weights lie outside the project")
@pytest.mark.parametrize(("name", "file"), [("meso4", "Meso4"), ("meso_inception4", "MesoInception")])
def test_the_authors_own_keras_weights(name, file):
    path = DATA / "weights" / "mesonet" / f"{file}_DF.npz"
    found = resolve(f"{name}_keras", weights=path)
    with np.load(path) as arrays:
        tensors = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    images = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    wanted = getattr(ByHand(tensors), name)(images)
    torch.testing.assert_close(found.model(images), wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_classnseg_by_hand():
    """Mean size of channels 64 to 127 of the latent map minus that of channels 0 to 63."""
    model = REGISTRY["classnseg"].build().eval()
    images = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    latent = model.encoder(images)
    assert latent.shape == (2, 128, 16, 16)
    wanted = latent[:, 64:].abs().mean((1, 2, 3)) - latent[:, :64].abs().mean((1, 2, 3))
    torch.testing.assert_close(model(images)[:, 0], wanted)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="real faces lie outside the project")
def test_classnseg_on_real_faces():
    """The AUC that was measured before this package existed: .849 and .682 on two pairs of sources."""
    from PIL import Image
    from sklearn.metrics import roc_auc_score

    found = resolve("classnseg", weights=DATA / "weights/classnseg/full/encoder_46.pt")

    def scores(source):
        paths = sorted((DATA / "faces256").rglob(f"*{source}*/*.jpg"))
        arrays = [preprocess_array(Image.open(path), found.preprocessing) for path in paths]
        return torch.cat([found.model(torch.from_numpy(np.stack(arrays[i : i + 32])))
                          for i in range(0, len(arrays), 32)])[:, 0].numpy()  # fmt: skip

    real = scores("ffhq_real")
    for source, published in (("genface_fake", 0.849), ("tpdne_fake", 0.682)):
        fake = scores(source)
        labels = np.r_[np.zeros(len(real)), np.ones(len(fake))]
        assert abs(roc_auc_score(labels, np.r_[real, fake]) - published) < 0.02, source
