"""ViT and Swin classifiers as ``transformers`` saves them: weights, labels and preprocessing."""

import json

import torch
from transformers import SwinConfig, SwinForImageClassification, ViTConfig, ViTForImageClassification

from brevitas_defakeq.detectors.resolve import resolve

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
PROCESSOR = {"size": {"height": 64, "width": 64}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def saved(folder, model, labels, **processor):
    model.config.id2label = labels
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | {"resample": 3} | processor))
    return model


def vit(folder, labels):
    config = ViTConfig(hidden_size=192, num_hidden_layers=2, num_attention_heads=3, intermediate_size=768,
                       image_size=64, layer_norm_eps=1e-6)  # fmt: skip
    return saved(folder, ViTForImageClassification(config), labels)


def as_vit(folder, **options):
    return resolve("deit_tiny", weights=folder, model_args={"depth": 2}, **options)


@torch.no_grad()
def test_vit(tmp_path):
    theirs = vit(tmp_path, {0: "Fake", 1: "Real"})
    ours = as_vit(tmp_path)
    torch.testing.assert_close(ours.model(IMAGES), theirs(IMAGES).logits, rtol=1e-4, atol=1e-5)
    assert ours.output.fake_index == 0
    assert ours.preprocessing.to_dict() == {
        "input_size": [64, 64], "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4],
        "fit": "stretch",
    }  # fmt: skip
    assert as_vit(tmp_path / "model.safetensors", fake_index=1, mean=0.1).preprocessing.mean == (0.1,) * 3


@torch.no_grad()
def test_swin(tmp_path):
    config = SwinConfig(
        image_size=64, patch_size=4, window_size=2, embed_dim=24, depths=[1, 2], num_heads=[2, 4]
    )
    theirs = saved(tmp_path, SwinForImageClassification(config), {0: "real", 1: "deepfake"})
    small = {"embed_dim": 24, "depths": [1, 2], "num_heads": [2, 4], "window_size": 2, "img_size": 64}
    ours = resolve("swin_small", weights=tmp_path, model_args=small)
    torch.testing.assert_close(ours.model(IMAGES), theirs(IMAGES).logits, rtol=1e-4, atol=1e-5)
    assert ours.output.fake_index == 1


def test_labels_that_do_not_tell_are_said(tmp_path, caplog):
    vit(tmp_path, {0: "LABEL_0", 1: "LABEL_1"})
    assert as_vit(tmp_path).output.fake_index == 1
    assert "--fake-index" in caplog.text
