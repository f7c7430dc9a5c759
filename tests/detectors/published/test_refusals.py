"""Files that do not fit: one line that says what is missing and what the file looks like."""

import pytest
import torch
from reference import checkpoint, made

from brevitas_defakeq.detectors.load_weights import load_detector_weights
from brevitas_defakeq.detectors.recognize import looks_like
from brevitas_defakeq.detectors.registry import REGISTRY
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.utils.errors import UserError


def refused(name, state, tmp_path):
    torch.save(state, tmp_path / "given.pth")
    with pytest.raises(UserError) as caught:
        resolve(name, weights=tmp_path / "given.pth")
    message = str(caught.value)
    assert "\n" not in message and "given.pth" in message
    return message


def test_a_checkpoint_of_another_detector(tmp_path):
    message = refused("meso4", checkpoint("npr"), tmp_path)
    assert "does not fit meso4" in message and "npr: ask for that detector" in message
    message = refused("npr", checkpoint("meso_inception4"), tmp_path)
    assert "meso_inception4" in message
    message = refused("deit_tiny", checkpoint("meso4"), tmp_path)
    assert "meso4: ask for that detector" in message


def test_the_first_ten_missing_names(tmp_path):
    state = checkpoint("npr")
    gone = [key for key in state if key.startswith("layer2.3.")]
    kept = {key: tensor for key, tensor in state.items() if key not in gone}
    message = refused("npr", kept, tmp_path)
    assert (
        f"{len(gone)} missing: " in message and gone[0] in message and f"and {len(gone) - 10} more" in message
    )
    assert "ask for that detector" not in message


def test_names_that_nearly_fit(tmp_path):
    state = checkpoint("meso4")
    state["backbone.fc2.weight"] = torch.zeros(5, 16)
    assert "of another shape: fc2.weight (model [2, 16], file [5, 16])" in refused("meso4", state, tmp_path)
    state = checkpoint("meso4") | {"backbone.fc3.weight": torch.zeros(2)}
    assert "1 unexpected: fc3.weight" in refused("meso4", state, tmp_path)


@pytest.mark.parametrize(
    ("state", "likeness"),
    [
        (("block12.rep.4.conv1.weight", "fc.weight"), "Xception's ImageNet weights"),
        (("_blocks.31._project_conv.weight", "_fc.weight"), "EfficientNet's ImageNet weights"),
        (("layer4.0.conv1.weight", "fc.weight"), "ResNet"),
        (("vision_model.embeddings.class_embedding", "visual_projection.weight"), "CLIP's own weights"),
        (("cls_token", "patch_embed.proj.weight"), "deit_tiny"),
        (("layers.3.blocks.1.attn.relative_position_bias_table",), "timm Swin"),
    ],
)
def test_backbones_are_known(state, likeness, tmp_path):
    """An ImageNet file where a detector's is wanted."""
    tensors = {name: torch.zeros(192, 2) for name in state}
    assert likeness in looks_like(tensors)
    assert likeness in refused("ucf", tensors, tmp_path)


def test_every_published_detector_is_recognised():
    """By the names of its own checkpoint; where names are shared the asked one decides."""
    for name in ("dfb_xception", "dfb_efficientnet_b4", "lsda", "ucf", "npr", "meso4", "meso_inception4"):
        assert f"those of {name}:" in looks_like(dict.fromkeys(checkpoint_names(name), torch.zeros(1)))
    assert looks_like({"a": torch.zeros(1)}) is None


def checkpoint_names(name):
    from reference import keys

    return keys(name)["keys"]


def test_old_files_store_pointwise_weights_as_matrices():
    state = checkpoint("dfb_xception")
    flat = {key: t[:, :, 0, 0] if key.endswith("pointwise.weight") else t for key, t in state.items()}
    models = [REGISTRY["dfb_xception"].build().eval() for _ in range(2)]
    for model, tensors in zip(models, (state, flat), strict=True):
        load_detector_weights(model, tensors, REGISTRY["dfb_xception"], source="x")
    assert all(
        torch.equal(*pair) for pair in zip(*(model.state_dict().values() for model in models), strict=True)
    )


def test_a_head_trained_with_dropout(tmp_path):
    """FaceForensics++'s own prefix, and a number in the head's name."""
    state = {
        key.replace("backbone.", "model.").replace("last_linear.", "last_linear.1."): tensor
        for key, tensor in checkpoint("dfb_xception").items()
    }
    entry = REGISTRY["dfb_xception"]
    assert load_detector_weights(entry.build(), state, entry, source="x") == {}


def test_two_files_with_the_same_name(tmp_path):
    for file in ("a.pth", "b.pth"):
        torch.save({"weight": made("weight", (1, 768))}, tmp_path / file)
    with pytest.raises(UserError, match=r"b\.pth holds weight, which another of the files holds too"):
        resolve("univfd", weights=[tmp_path / "a.pth", tmp_path / "b.pth"], model_args={"depth": 1})


def test_files_of_other_kinds_that_are_broken(tmp_path):
    for file in ("half.npz", "half.h5"):
        (tmp_path / file).write_bytes(b"PK\x03\x04 or not")
        with pytest.raises(UserError, match=rf"{file} is not an intact"):
            resolve("meso4_keras", weights=tmp_path / file)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="a folder without model.safetensors"):
        resolve("deit_tiny", weights=tmp_path / "empty")


def test_arguments_that_a_detector_does_not_take():
    with pytest.raises(UserError, match="ucf takes no model arguments; leave out depth"):
        resolve("ucf", model_args={"depth": 2})
