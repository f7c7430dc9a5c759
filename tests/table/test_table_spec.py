"""Descriptions of tables: what a TOML file becomes, and one clear line for what is wrong with it."""

import pytest

from brevitas_defakeq.table.table_spec import DetectorRow, Method, TableSpec
from brevitas_defakeq.table.table_spec_file import read_spec
from brevitas_defakeq.utils.errors import UserError

GOOD = """
calibration = "train.csv"
convention = "deepfakebench"
[settings]
seed = 3
activation_bits = 0
reconstruction = {iterations = 7}
[datasets]
DFD = "dfd.csv"
"CDF v2" = "elsewhere:test"
[[detectors]]
name = "demo"
[[detectors]]
name = "tiny:build"
weights = "tiny.pth"
label = "Tiny"
options = {input_size = 16, model_args = {head = "two"}}
[[methods]]
method = "defakeq"
bits = 2.5
recipe = "paper"
form = "mixed"
settings = {final = {steps = 9}}
[[methods]]
method = "round_to_nearest"
bits = 4
"""


def write(folder, text):
    (folder / "it.toml").write_text(text)
    return folder / "it.toml"


def test_a_whole_file(tmp_path):
    for name in ("train.csv", "dfd.csv", "tiny.pth"):
        (tmp_path / name).touch()
    spec = read_spec(write(tmp_path, GOOD))
    assert spec.calibration == str(tmp_path / "train.csv") and spec.convention == "deepfakebench"
    assert spec.datasets == {"DFD": str(tmp_path / "dfd.csv"), "CDF v2": "elsewhere:test"}
    options = {"input_size": 16, "model_args": {"head": "two"}}
    assert spec.detectors == (
        DetectorRow("demo"),
        DetectorRow("tiny:build", str(tmp_path / "tiny.pth"), "Tiny", options),
    )
    assert [method.label for method in spec.methods] == [
        "float", "DeFakeQ 2.5 bits, paper, restored", "nearest 4 bits",
    ]  # fmt: skip
    config = spec.config(spec.methods[1])
    assert (config.seed, config.activation_bits, config.average_bits, config.recipe) == (
        3,
        None,
        2.5,
        "paper",
    )
    assert (config.reconstruction.iterations, config.final.steps) == (7, 9)
    assert config.veft.enabled and config.haq.error_base == 2.0, "the rest is the recipe's"
    assert spec.config(spec.methods[2]).final.steps == 100


def test_a_detector_in_a_folder_beside_the_file(tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text('{"architecture": "resnet18"}')
    (row,) = read_spec(write(tmp_path, one_detector("hub"))).detectors
    assert (row.name, row.label) == (str(tmp_path / "hub"), "hub")
    (tmp_path / "demo").mkdir()  # a folder of another kind
    assert read_spec(write(tmp_path, one_detector("demo"))).detectors == (DetectorRow("demo"),)


def one_detector(name):
    return f"""
calibration = "x"
[datasets]
a = "a"
[[detectors]]
name = "{name}"
[[methods]]
method = "float"
"""


def test_the_float_detector_comes_first_and_once():
    rows, data = (DetectorRow("demo"),), {"a": "a"}
    for methods in (
        (Method("defakeq", 3),),
        (Method("defakeq", 3), Method("float")),
        (Method("float", label="GT"), Method("defakeq", 3)),
    ):
        spec = TableSpec(rows, data, methods, "train.csv")
        assert [method.method for method in spec.methods] == ["float", "defakeq"]
    assert spec.methods[0].label == "GT"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[settings]", "[settings", "is not TOML"),
        ("[settings]", "[setings]", "the table has no 'setings'; it may hold detectors, datasets"),
        ('calibration = "train.csv"', "", "the table lacks 'calibration'"),
        ('calibration = "train.csv"', "calibration = 3", "calibration = 3 is not text"),
        ("[[detectors]]", "[[methods]]", "the table lacks 'detectors'"),
        ('[[detectors]]\nname = "demo"', '[[methods]]\nname = "demo"', r"\[\[methods\]\] has no 'name'"),
        ('name = "demo"', "", r"\[\[detectors\]\] lacks 'name'"),
        ('name = "demo"', "name = 1", "name = 1 is not text"),
        ("options = {input_size", "options = {inputs", "option inputs is not one of model_args, input_size"),
        ('DFD = "dfd.csv"', "DFD = 1", "data set DFD: 1 is not text"),
        ("bits = 4", "", "method round_to_nearest: give bits"),
        ("bits = 4", 'bits = "four"', "bits = 'four' is not a number"),
        ("bits = 4", "bits = true", "bits = True is not a number"),
        ("bits = 4", "bits = 4\nform = 'best'", "form='best': choose quantized or mixed"),
        ('method = "round_to_nearest"', 'method = "brecq"', "method='brecq': choose one of float"),
        ('method = "round_to_nearest"', 'method = "float"', "method float: it has no bits"),
        ('recipe = "paper"', 'recipe = "mine"', "recipe='mine': choose one of best, paper"),
        ("seed = 3", "sede = 3", "unknown field sede"),
        ("seed = 3", "seed = 'x'", "a value is of the wrong kind"),
        ("seed = 3", "haq = 3", "settings: haq is a table of its own"),
        ("final = {steps = 9}", "final = {stepps = 9}", "unknown field stepps in FinalPassConfig"),
        ('"deepfakebench"', '"mine"', "convention='mine' is not known"),
        ('label = "Tiny"', 'label = "demo"', "two detectors are called 'demo'; give each a label"),
        ("bits = 4", "bits = 4\n[[methods]]\nmethod = 'float'\nbits = 4", "it has no bits"),
        (
            'method = "defakeq"\nbits = 2.5',
            'method = "defakeq"\nlabel = "float"\nbits = 2.5',
            "two methods are",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, old, new, message):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        read_spec(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_empty_lists_and_missing_files(tmp_path):
    with pytest.raises(UserError, match="the table has no datasets; give one or more"):
        read_spec(write(tmp_path, GOOD.replace('DFD = "dfd.csv"\n"CDF v2" = "elsewhere:test"', "")))
    with pytest.raises(
        UserError, match="no.toml cannot be read: No such file or directory; give a TOML file"
    ):
        read_spec(tmp_path / "no.toml")
