"""Published detectors agree with their original code: logits, features, and what flows in between."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import SIDES, checkpoint, noise, outputs, tiles

from brevitas_defakeq.detectors.feature import FeatureTap
from brevitas_defakeq.detectors.load_weights import load_detector_weights, without_unused
from brevitas_defakeq.detectors.registry import REGISTRY
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.prepare.plan import make_plan

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
SHARED = Path(__file__).parents[4] / "shared" / "reference"
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name == "wavelet_clip" else name for name in SIDES]
#: Names of the detector in the reference's own file list.
ORIGINAL = {
    "dfb_xception": "xception", "dfb_efficientnet_b4": "efficientnetb4", "meso_inception4": "meso4inception",
    "wavelet_clip": "waveletclip",
}  # fmt: skip

XCEPTION = ("conv1", "bn1", "conv2", "bn2", "bn3", "bn4", *(f"block{n}" for n in (1, 2, 3, 4, 11, 12)))
EFFICIENTNET = {
    "conv_stem": "conv_stem", "blocks.0": "blocks.0.0", "blocks.1": "blocks.0.1", "blocks.2": "blocks.1.0",
    "blocks.2.depthwise_conv": "blocks.1.0.conv_dw", "blocks.6": "blocks.2.0", "blocks.10": "blocks.3.0",
    "blocks.16": "blocks.4.0", "blocks.22": "blocks.5.0", "blocks.30": "blocks.6.0",
    "blocks.31": "blocks.6.1", "conv_head": "conv_head",
}  # fmt: skip
INCEPTION = {"conv1": "0.reduce", "conv2_2": "1.conv", "conv3_2": "2.conv", "conv4_2": "3.conv"}
BLOCKS = {f"layer{n}": f"blocks.{n}" for n in (0, 1, 5, 11, 17, 22, 23)}
#: Module of the original -> the same module here.
MODULES = {
    "meso4": {f"conv{n + 1}": f"stages.{n}.conv" for n in range(4)}
    | {"maxpooling1": "stages.0.pool", "maxpooling1#2": "stages.1.pool", "maxpooling1#3": "stages.2.pool"}
    | {"maxpooling2": "stages.3.pool"},
    "meso_inception4": {f"Incption1_{key}": f"stages.0.conv.branches.{at}" for key, at in INCEPTION.items()}
    | {"Incption1_bn": "stages.0.norm", "Incption2_bn": "stages.1.norm", "conv1": "stages.2.conv"}
    | {"maxpooling1": "stages.0.pool", "maxpooling1#2": "stages.1.pool", "maxpooling1#3": "stages.2.pool"}
    | {"conv2": "stages.3.conv", "maxpooling2": "stages.3.pool"},
    "npr": {"npr (conv1 input, after *2/3)": "residual", "layer2.0.downsample": "layer2.0.downsample"}
    | {place: place for place in ("conv1", "bn1", "maxpool", *(f"layer1.{n}" for n in range(3)))}
    | {f"layer2.{n}": f"layer2.{n}" for n in range(4)},
    "dfb_xception": {place: place for place in XCEPTION},
    "ucf": {f"encoder_f.{place}": f"encoder.{place}" for place in XCEPTION}
    | {"encoder_f.adjust_channel": "adjust_channel", "block_sha": "shared"},
    "dfb_efficientnet_b4": EFFICIENTNET,
    "lsda": {place: f"encoder.{here}" for place, here in EFFICIENTNET.items()}
    | {"student_encoder.conv": "neck"},
    "wavelet_clip": {"patch_embedding": "patch_embed.proj", "layer0.layer_norm1": "blocks.0.norm1"}
    | {"layer0.self_attn": "blocks.0.attn", "layer0.mlp.fc1": "blocks.0.mlp.fc1"}
    | {"layer0.mlp": "blocks.0.mlp", "pre_layrnorm": "norm_pre"}
    | BLOCKS,
}


@pytest.fixture(scope="module")
def built():
    """Name -> (entry, the detector with the reference's weights); one at a time, some are large."""
    kept = {}

    def give(name):
        if name not in kept:
            kept.clear()
            entry = REGISTRY[name]
            model = entry.build().eval()
            assert load_detector_weights(model, checkpoint(name), entry, source=name) == {}
            kept[name] = entry, model
        return kept[name]

    return give


def feature_tap(entry, model, images) -> FeatureTap:
    """The feature as a run reads it: the entry's module, or the input of the layer called last."""
    if entry.feature:
        return FeatureTap(model, entry.feature, "output")
    return FeatureTap(model, make_plan(copy.deepcopy(model), images[:1], outside=entry.outside).head)


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_features(built, name):
    entry, model = built(name)
    wanted = outputs(name)
    pooled = {"wavelet_clip": "pooler_output"}.get(name)
    feature = pooled or ("feature_pooled" if "feature_pooled" in wanted else "feature")
    images = noise(SIDES[name], entry.preprocessing)
    with torch.no_grad(), feature_tap(entry, model, images) as tap:
        logits = model(images)
    np.testing.assert_allclose(logits, wanted["logits"], **CLOSE)
    np.testing.assert_allclose(tap.value, wanted[feature], **CLOSE)
    fake = torch.sigmoid(entry.output.fake_logit(logits))
    np.testing.assert_allclose(fake, wanted["prob_fake"].ravel(), **CLOSE)
    if "tiles_logits" in wanted:
        with torch.no_grad():
            logits = model(tiles(SIDES[name], entry.preprocessing))
        np.testing.assert_allclose(logits, wanted["tiles_logits"], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_what_flows_in_between(built, name):
    entry, model = built(name)
    wanted, modules, seen = outputs(name), dict(model.named_modules()), {}
    places = {place: at for place, at in MODULES[name].items() if f"act/{place}/shape" in wanted}
    assert len(places) >= 8, places
    handles = [
        modules[at].register_forward_hook(lambda *call, place=place: seen.update({place: call[2].clone()}))
        for place, at in places.items()
    ]
    with torch.no_grad():
        model(noise(SIDES[name], entry.preprocessing))
    for handle in handles:
        handle.remove()
    for place, value in seen.items():
        if place == "patch_embedding":  # timm hands out tokens, the original a map
            value = value.transpose(1, 2).reshape(2, 1024, 16, 16)
        given = {key: wanted[f"act/{place}/{key}"] for key in ("shape", "mean", "std", "first8")}
        assert tuple(value.shape) == tuple(given["shape"]), place
        wide = value.double()
        np.testing.assert_allclose(wide.mean(), given["mean"], **CLOSE, err_msg=place)
        np.testing.assert_allclose(wide.std(correction=0), given["std"], **CLOSE, err_msg=place)
        np.testing.assert_allclose(value.flatten()[:8], given["first8"], **CLOSE, err_msg=place)
        norms = wide.flatten(1).norm(dim=1)
        np.testing.assert_allclose(norms, wanted[f"act/{place}/per_sample_l2"], **CLOSE, err_msg=place)
    assert len(seen) == len(places)


def test_npr_at_other_sizes(built):
    _, model = built("npr")
    wanted = outputs("npr")
    counted = torch.arange(24.0).reshape(1, 1, 4, 6)
    np.testing.assert_allclose(model.residual(counted) * 1.5, wanted["npr_of_arange_4x6"], rtol=1e-6)
    with torch.no_grad():
        constant = model(torch.full((1, 3, 256, 256), 0.3))
    np.testing.assert_allclose(constant, wanted["logits_of_any_constant_image"], **CLOSE)


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.skipif(not SHARED.exists(), reason="the full lists of names lie outside the project")
def test_every_published_name_is_used_or_dropped(name):
    """All names of a real checkpoint, training parts included; shapes alone, no memory."""
    listed = json.loads((SHARED / f"{ORIGINAL.get(name, name)}_keys.json").read_text())
    names = [*listed["keys"], *listed.get("published_extra", [])]
    counted = {"int64": torch.int64}
    state = {
        key: torch.empty(shape, dtype=counted.get(kind, torch.float32), device="meta")
        for key, shape, kind, _ in names
    }
    entry = REGISTRY[name]
    needed, dropped = without_unused(state, entry.unused)
    assert len(needed) + sum(dropped.values()) == len(names)
    used = {key for key, _, _, used in names if used}
    assert used <= set(needed)
    counters = {key for key in needed if key.endswith("num_batches_tracked")}
    assert set(needed) - used <= counters


def test_published_files_load_by_name(tmp_path):
    """As DistributedDataParallel saves it, with parts that only train."""
    state = {f"module.{key}": tensor for key, tensor in checkpoint("meso4").items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "meso4_best.pth")
    found = resolve("meso4", weights=tmp_path / "meso4_best.pth")
    images = noise(256, found.preprocessing)
    with torch.no_grad():
        np.testing.assert_allclose(found.model(images), outputs("meso4")["logits"], **CLOSE)
    assert found.crop.kind == "aligned" and found.weights["file"] == "meso4_best.pth"


def test_dropped_parts_are_counted(tmp_path):
    state = checkpoint("ucf") | {"con_gan.weight": torch.zeros(2), "encoder_c.conv1.weight": torch.zeros(2)}
    torch.save(state, tmp_path / "ucf_best.pth")
    found = resolve("ucf", weights=tmp_path / "ucf_best.pth")
    assert found.dropped == {"con_gan": 1, "encoder_c": 1}
