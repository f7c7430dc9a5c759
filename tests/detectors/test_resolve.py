"""From names to detectors: lookup order, arguments, weights, and every way to get it wrong."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch

from brevitas_defakeq import detectors
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.registry import REGISTRY, describe, names, register_detector
from brevitas_defakeq.detectors.resolve import build, parse_model_args, resolve
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.utils.errors import UserError

SMALL = "mobilenetv3_small_050"
FACTORY = """
import torch
from torch import nn

def bare(width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, width), nn.Linear(width, 1))

def full(width=4):
    return bare(width), {"input_size": [8, 8], "mean": 0.0, "std": 1.0, "interpolation": "box"}

def broken():
    raise RuntimeError("no\\nway")

def number():
    return 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_detector_module.py").write_text(FACTORY)
    (tmp_path / "my_broken_module.py").write_text("import nothing_of_that_name")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("my_detector_module", "my_broken_module"):
        sys.modules.pop(name, None)


def saved(tmp_path, model):
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_names():
    backbones = ["deit_tiny", "deit_small", "deit_base", "vit_small", "vit_base", "swin_small", "swin_base"]
    published = [
        "classnseg", "dfb_efficientnet_b4", "dfb_xception", "effort", "lsda", "meso4", "meso4_keras",
        "meso_inception4", "meso_inception4_keras", "npr", "sbi", "ucf", "univfd", "wavelet_clip",
    ]  # fmt: skip
    assert names() == detectors.names() == ["demo", *backbones, *published]


def test_backbones_as_published():
    """Parameters with two classes, counted from timm before this package existed."""
    rows = {}
    for entry in (entry for entry in REGISTRY.values() if entry.timm_name):
        with torch.device("meta"):
            model = entry.build()
        rows[entry.name] = sum(parameter.numel() for parameter in model.parameters())
        assert entry.preprocessing_of(model).input_size == (224, 224)
        assert entry.preprocessing_of(model).mean[0] == (0.5 if "vit" in entry.name else 0.485)
    assert rows == {
        "deit_tiny": 5_524_802,
        "deit_small": 21_666_434,
        "deit_base": 85_800_194,
        "vit_small": 21_666_434,
        "vit_base": 85_800_194,
        "swin_small": 48_838_796,
        "swin_base": 86_745_274,
    }


def test_demo_comes_with_its_weights():
    demo = resolve("demo")
    assert demo.weights["file"].endswith(".safetensors") and demo.spec["kind"] == "registry"
    assert demo.preprocessing.input_size == (128, 128)
    logit = demo.output.fake_logit(demo.model(torch.zeros(2, 3, *demo.preprocessing.input_size)))
    assert logit.shape == (2,)


def test_demo_takes_no_arguments_and_all_are_described():
    rows = list(describe())
    assert [row["name"] for row in rows] == names()
    assert all(row["parameters"] > 27_000 and row["input_size"][0] >= 128 for row in rows)
    json.dumps(rows)
    with pytest.raises(UserError, match="no model arguments"):
        resolve("demo", model_args={"depth": 3})


def test_registry_name():
    detector = resolve("deit_tiny")
    assert detector.spec == {"kind": "registry", "name": "deit_tiny", "model_args": {"num_classes": 2}}
    assert detector.weights is None and not detector.model.training
    assert detector.preprocessing == Preprocessing(
        (224, 224), "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )


def test_random_weights_follow_the_seed():
    before = torch.random.get_rng_state()
    first, same, other = (resolve(SMALL, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's generator was used"
    assert torch.equal(first.model.conv_stem.weight, same.model.conv_stem.weight)
    assert not torch.equal(first.model.conv_stem.weight, other.model.conv_stem.weight)
    assert torch.equal(build(first.spec, 3).conv_stem.weight, first.model.conv_stem.weight)
    torch.manual_seed(3)
    free = [resolve(SMALL).model.conv_stem.weight for _ in range(2)]
    assert not torch.equal(*free), "without a seed torch's own generator goes on"


def test_what_is_known_to_be_untrained(tmp_path):
    path = saved(tmp_path, timm.create_model(SMALL, num_classes=2))
    assert resolve(SMALL).untrained and resolve("deit_tiny", model_args={"depth": 1}).untrained
    assert not resolve("demo").untrained and not resolve(SMALL, weights=path).untrained


def test_timm_name_and_options():
    args = {"bn_eps": 1e-3, "pad_type": "same", "num_classes": 1}
    detector = resolve(
        f"timm:{SMALL}", model_args=args, input_size=192, mean=0.5, std=0.5, interpolation="bilinear"
    )
    assert detector.preprocessing == Preprocessing((192, 192))
    assert detector.name == SMALL and detector.spec["kind"] == "timm"
    assert detector.model.bn1.eps == 1e-3 and detector.model.classifier.out_features == 1
    rebuilt = build(json.loads(json.dumps(detector.spec)))
    rebuilt.load_state_dict(detector.model.state_dict())
    example = torch.randn(1, 3, 64, 64)
    assert torch.equal(rebuilt(example), detector.model(example))


def test_a_transformer_is_built_for_the_input_size():
    detector = resolve("deit_tiny", input_size=96, model_args={"depth": 1})
    assert detector.spec["model_args"] == {"depth": 1, "num_classes": 2, "img_size": [96, 96]}
    assert detector.model(torch.zeros(1, 3, *detector.preprocessing.input_size)).shape == (1, 2)


@pytest.mark.parametrize("classes", [1, 2])
def test_classes_follow_the_checkpoint(tmp_path, classes):
    path = saved(tmp_path, timm.create_model(SMALL, num_classes=classes))
    detector = resolve(SMALL, weights=path)
    assert detector.spec["model_args"]["num_classes"] == classes
    assert detector.weights["file"] == "weights.pth" and len(detector.weights["sha256"]) == 64
    stored = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, stored[name]) for name, tensor in detector.model.state_dict().items())


def test_weights_that_do_not_fit(tmp_path):
    path = saved(tmp_path, timm.create_model(SMALL, num_classes=1))
    with pytest.raises(UserError, match=r"classifier.weight \(model \[2, 1024\], file \[1, 1024\]\)"):
        resolve(SMALL, weights=path, model_args={"num_classes": 2})
    with pytest.raises(UserError, match="does not fit"):
        resolve("deit_tiny", weights=path, model_args={"depth": 1})
    with pytest.raises(UserError, match="gone.pth does not exist"):
        resolve(SMALL, weights=tmp_path / "gone.pth")


def test_output_and_feature(tmp_path):
    detector = resolve(SMALL, output="softmax", fake_index=0, feature="conv_head")
    assert detector.output == OutputSpec("softmax", 0) and detector.feature == "conv_head"
    assert resolve(SMALL, output=OutputSpec(key="cls"), fake_index=0).output == OutputSpec("auto", 0, "cls")
    with pytest.raises(UserError, match="output='sigmoid'"):
        resolve(SMALL, output="sigmoid")
    assert resolve(SMALL, real_index=0).output == OutputSpec(real_index=0)
    with pytest.raises(UserError, match="give --fake-index or --real-index"):
        resolve(SMALL, fake_index=0, real_index=1)
    with pytest.raises(UserError, match="num_classes=3 it is not known which mean fake"):
        resolve(SMALL, model_args={"num_classes": 3})
    assert (
        resolve(SMALL, model_args={"num_classes": 3}, output=OutputSpec(real_index=2)).output.real_index == 2
    )
    with pytest.raises(UserError, match="--ignore-keys 'a' matches no name in the weights: there are none"):
        resolve(SMALL, ignore_keys=["a"])
    path = saved(tmp_path, timm.create_model(SMALL, num_classes=2))
    with pytest.raises(UserError, match=r"--ignore-keys 'loss\.\*' matches no name in .*weights\.pth"):
        resolve(SMALL, weights=path, ignore_keys=["loss.*"])


def test_factory(folder):
    detector = resolve("my_detector_module:full", model_args={"width": 5})
    assert detector.preprocessing == Preprocessing((8, 8), "box", 0.0, 1.0)
    assert detector.spec == {"kind": "factory", "name": "my_detector_module:full", "model_args": {"width": 5}}
    assert resolve("my_detector_module:full", input_size=9).preprocessing.input_size == (9, 9)
    assert build(detector.spec)[1].out_features == 5
    bare = resolve("my_detector_module:bare", input_size=8, mean=0.5, std=0.5)
    assert bare.preprocessing == Preprocessing((8, 8))
    path = saved(folder, bare.model)
    assert torch.equal(resolve("my_detector_module:full", weights=path).model[1].weight, bare.model[1].weight)
    assert str(folder) not in sys.path


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("my_detector_module:bare", {}, "--input-size --mean --std"),
        ("my_detector_module:other", {}, "no factory 'other'; it has bare, full"),
        ("my_detector_module:broken", {}, "failed: RuntimeError: no way"),
        ("my_detector_module:full", {"model_args": {"depth": 1}}, "unexpected keyword argument 'depth'"),
        ("my_detector_module:number", {}, "gave int"),
        ("my_broken_module:full", {}, "importing 'my_broken_module' failed.*nothing_of_that_name"),
        ("no_such_module:full", {}, "No module named 'no_such_module'"),
        ("deit-tiny", {}, "did you mean.*deit_tiny"),
        ("timm:demo", {}, "'timm:demo' is unknown"),
        ("hf_hub:timm/resnet18.a1_in1k", {}, "importing 'hf_hub' failed"),
        ("timm:hf_hub:timm/resnet18", {}, "is unknown"),
        ("resnet18.nonsense", {}, "is unknown.*resnet18"),
        (SMALL, {"model_args": {"colour": 1}}, "timm cannot build.*colour"),
        (SMALL, {"model_args": {"pretrained": True}}, "nothing is downloaded"),
        (SMALL, {"model_args": {"num_classes": 0}}, "leaves no verdict"),
        (SMALL, {"model_args": {"act_layer": torch.nn.ReLU}}, "write a factory"),
    ],
)
def test_bad_input_gives_one_line(folder, name, options, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve(name, **options)
    assert "\n" not in str(caught.value)


def test_a_spec_that_cannot_be_rebuilt():
    with pytest.raises(UserError, match="give the model itself"):
        build({"kind": "module", "name": "Mine"})


def test_model_arguments():
    words = [
        "pad_type=same",
        "bn_eps=1e-3",
        "img_size=(192, 160)",
        "a=true",
        "b=None",
        'c="1"',
        "d=x=y",
        "e=",
    ]
    parsed = parse_model_args(words)
    assert parsed.pop("img_size") in ((192, 160), [192, 160])
    assert parsed == {"pad_type": "same", "bn_eps": 1e-3, "a": True, "b": None, "c": "1", "d": "x=y", "e": ""}
    for wrong in ("depth", "=3", "a b=3"):
        with pytest.raises(UserError, match="KEY=VALUE"):
            parse_model_args([wrong])


def test_load_gives_a_plain_module():
    model = detectors.load(SMALL, model_args={"num_classes": 1})
    assert type(model) is type(timm.create_model(SMALL)) and not model.training


def test_importing_the_names_is_quick():
    code = (
        "import sys, brevitas_defakeq.detectors as d; d.names(); print({'torch', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_a_registered_detector_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr(REGISTRY, "_entries", dict(REGISTRY._entries))
    entry = register_detector(replace(REGISTRY["demo"], name="mine"))
    assert REGISTRY["mine"] is entry and resolve("mine").name == "mine"
    with pytest.raises(UserError, match="'mine' is known already"):
        register_detector(entry)
    register_detector(replace(entry, name="empty", build=lambda: None))
    with pytest.raises(UserError, match="the detector empty was built as NoneType; return an nn.Module"):
        resolve("empty")
