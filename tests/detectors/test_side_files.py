"""Folders as timm and ``transformers`` write them: given as weights, or as the detector itself."""

import json

import pytest
import timm
import torch
from timm.models import save_for_hf
from transformers import SwinConfig, SwinForImageClassification, ViTConfig, ViTForImageClassification

from brevitas_defakeq.detectors.parts.transformers_folder import transformers_settings
from brevitas_defakeq.detectors.resolve import build, resolve
from brevitas_defakeq.utils.errors import UserError

SMALL = "mobilenetv3_small_050"
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def from_timm(folder, labels=("fake", "real"), safe=True, **model_args):
    """A folder of timm's hub, with statistics and a size of its own."""
    model = timm.create_model(SMALL, num_classes=len(labels), **model_args).eval()
    how = {
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.4],
        "input_size": [3, 64, 64],
        "interpolation": "bilinear",
    }
    save_for_hf(model, folder, {"label_names": list(labels)}, safe_serialization=safe, data_config=how)
    return model


def edit(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@torch.no_grad()
@pytest.mark.parametrize("safe", [True, False])
def test_a_timm_folder_is_a_detector(tmp_path, caplog, safe):
    theirs = from_timm(tmp_path, safe=safe)
    ours = resolve(str(tmp_path))
    assert torch.equal(ours.model(IMAGES), theirs(IMAGES))
    assert ours.name == SMALL and ours.output.fake_index == 0 and not ours.untrained
    assert ours.preprocessing.to_dict() == {
        "input_size": [64, 64], "interpolation": "bilinear", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4],
        "fit": "stretch",
    }  # fmt: skip
    (record,) = caplog.records
    assert "not followed: crop_pct 0.875 (face crops are used whole)" in record.message
    build(json.loads(json.dumps(ours.spec))).load_state_dict(theirs.state_dict())


def test_as_weights_of_a_named_architecture(tmp_path, caplog):
    theirs = from_timm(tmp_path)
    for weights in (tmp_path, tmp_path / "model.safetensors"):
        ours = resolve(SMALL, weights=weights, mean=0.1)
        assert ours.output.fake_index == 0 and ours.preprocessing.mean == (0.1,) * 3
        assert ours.preprocessing.std == (0.2, 0.3, 0.4) and ours.preprocessing.input_size == (64, 64)
        assert torch.equal(ours.model.classifier.weight, theirs.classifier.weight)
    assert resolve(SMALL, weights=tmp_path, fake_index=1).output.fake_index == 1
    caplog.clear()
    edit(tmp_path, architecture="mobilenetv3_small_075")
    resolve(SMALL, weights=tmp_path)
    assert f"architecture mobilenetv3_small_075 ({SMALL} was asked for)" in caplog.text


def test_older_timm_folders_have_everything_at_the_top(tmp_path):
    from_timm(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    old = content["pretrained_cfg"] | {"architecture": SMALL, "labels": ["real", "fake"]}
    (tmp_path / "config.json").write_text(json.dumps(old | {"crop_pct": 1.0}))
    ours = resolve(str(tmp_path))
    assert ours.output.fake_index == 1 and ours.preprocessing.mean == (0.4, 0.5, 0.6)


def test_several_fake_classes(tmp_path):
    from_timm(tmp_path, ("live", "print attack", "replay attack"))
    assert resolve(str(tmp_path)).output.real_index == 0
    edit(tmp_path, label_names=["a", "b", "c"])
    with pytest.raises(
        UserError, match="of num_classes=3 it is not known which mean fake; give --fake-index"
    ):
        resolve(str(tmp_path))
    assert resolve(str(tmp_path), fake_index=2).output.fake_index == 2
    assert resolve(str(tmp_path), real_index=1).output.real_index == 1


def test_labels_of_a_single_score(tmp_path):
    """One logit that was trained on fake = 0: a high score means real."""
    from_timm(tmp_path, ("one",))
    edit(tmp_path, label_names=["fake", "real"])
    ours = resolve(str(tmp_path))
    assert ours.output.fake_logit(torch.tensor([[2.0]])).tolist() == [-2.0]


def test_a_factory_wins_over_the_files_and_says_so(tmp_path, monkeypatch, caplog):
    from_timm(tmp_path / "hub")
    code = f"import timm\ndef make(**v):\n    return timm.create_model({SMALL!r}, num_classes=2), dict(v)\n"
    (tmp_path / "hub_factory.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    ours = resolve("hub_factory:make", weights=tmp_path / "hub", model_args={"std": 0.7})
    assert ours.output.fake_index == 0
    assert ours.preprocessing.mean == (0.4, 0.5, 0.6) and ours.preprocessing.std == (0.7,) * 3
    assert "std (the detector has its own)" in caplog.text


def test_published_detectors_keep_their_own(tmp_path, caplog):
    from brevitas_defakeq.detectors.registry import REGISTRY

    (tmp_path / "config.json").write_text(json.dumps({"architecture": "x", "label_names": ["fake", "real"],
                                                      "mean": [0, 0, 0]}))  # fmt: skip
    torch.save(REGISTRY["npr"].build().state_dict(), tmp_path / "npr.pth")
    ours = resolve("npr", weights=tmp_path / "npr.pth")
    assert ours.output == REGISTRY["npr"].output and ours.preprocessing == REGISTRY["npr"].preprocessing
    assert "mean (the detector has its own)" in caplog.text


def test_folders_that_name_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match="has no config.json that names an architecture; name it, with --weights"
    ):
        resolve(str(tmp_path / "empty"))
    from_timm(tmp_path / "hub")
    edit(tmp_path / "hub", architecture="mobilnetv3_small_050")
    with pytest.raises(UserError, match="did you mean"):
        resolve(str(tmp_path / "hub"))
    (tmp_path / "hub" / "config.json").write_text('{"model_type": "convnext"}')
    with pytest.raises(
        UserError, match="no timm architecture is known for convnext of transformers; write a"
    ):
        resolve(str(tmp_path / "hub"))
    (tmp_path / "hub" / "config.json").write_text('{"architecture": "resnet18", "pretrained_cfg": 3}')
    with pytest.raises(UserError, match="config.json is damaged"):
        resolve(str(tmp_path / "hub"))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_a_folder_of_transformers_is_a_detector(tmp_path, caplog, kind):
    torch.manual_seed(0)
    if kind == "vit":
        config = ViTConfig(hidden_size=192, num_hidden_layers=2, num_attention_heads=3, intermediate_size=384,
                           image_size=64, layer_norm_eps=1e-6)  # fmt: skip
        theirs = ViTForImageClassification(config)
    else:
        config = SwinConfig(image_size=64, window_size=2, embed_dim=24, depths=[1, 2], num_heads=[2, 4])
        theirs = SwinForImageClassification(config)
    theirs.config.id2label = {0: "Fake", 1: "Real"}
    theirs.eval().save_pretrained(tmp_path)
    ours = resolve(str(tmp_path))
    torch.testing.assert_close(ours.model(IMAGES), theirs(IMAGES).logits, rtol=1e-4, atol=1e-5)
    assert ours.output.fake_index == 0 and ours.preprocessing.input_size == (64, 64)
    assert "not followed: a preprocessor_config.json, which is missing" in caplog.text


def processed(**processor):
    return transformers_settings({"model_type": "resnet", "id2label": {"0": "real", "1": "fake"}}, processor)


def test_image_processors_of_all_kinds():
    """Sizes after the crop, and statistics on the scale 0 to 1, worked by hand."""
    how = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    crop = processed(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 192}, **how)
    assert crop.preprocessing["input_size"] == (224, 192) and "the centre crop" in crop.unused[0]
    assert processed(size=384, crop_pct=0.9, **how).unused == ("crop_pct 0.9 (face crops are used whole)",)
    whole = processed(size={"height": 9, "width": 8}, crop_size=7, do_center_crop=False, resample=2, **how)
    assert whole.preprocessing == {
        "input_size": (9, 8), "mean": (0.5,) * 3, "std": (0.25,) * 3, "interpolation": "bilinear",
    } and not whole.unused  # fmt: skip
    raw = processed(do_normalize=False).preprocessing
    assert raw["mean"] == (0.0,) * 3 and raw["std"] == (1.0,) * 3
    bytes_ = processed(do_rescale=False, image_mean=[127.5] * 3, image_std=[51.0] * 3).preprocessing
    assert bytes_["mean"] == (0.5,) * 3 and bytes_["std"] == (0.2,) * 3
    centred = processed(rescale_factor=1 / 127.5, rescale_offset=True, do_normalize=False).preprocessing
    assert centred["mean"] == (0.5,) * 3 and centred["std"] == (0.5,) * 3
