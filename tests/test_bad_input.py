"""What the user can fix: one line on standard error, exit status 2, no traceback, nothing half-written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from brevitas_defakeq import UserError
from brevitas_defakeq.utils.files import write_bytes, write_json

QUANTIZE = ("quantize", "tiny_detector:build", "--calibration", "faces", "--out", "new", "--samples", "24")


def refused(workplace, *arguments):
    """The one line that the command prints; later options win."""
    before = {path for path in workplace.folder.rglob("*") if "__pycache__" not in path.parts}
    outcome = workplace(*arguments)
    assert outcome.status == 2, outcome
    assert outcome.output == ""
    after = {path for path in workplace.folder.rglob("*") if "__pycache__" not in path.parts}
    assert after == before, f"left behind: {sorted(map(str, after - before))}"
    return outcome.one_line()


# ------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--average-bits", 1.5), "--average-bits 1.5 lies below the smallest candidate 2; raise it to 2"),
        (("--average-bits", "three"), "--average-bits"),
        (("--average-bits", "nan"), "--average-bits nan"),
        (("--candidate-bits", "2,9"), "9 is not one of"),
        (("--candidate-bits", "2;4"), "numbers separated by commas"),
        (("--candidate-bits", "inf"), "numbers separated by commas"),
        (("--activation-bits", 1), "--activation-bits 1: must be 2 to 16"),
        (("--mean", "grey"), "--mean 'grey'"),
        (("--mean", "0.5,0.5"), "one number or three"),
        (("--mean", "nan"), "--mean 'nan'"),
        (("--std", 0), "every value must be above 0"),
        (("--std", "inf"), "--std 'inf'"),
        (("--input-size", 0), "--input-size 0"),
        (("--output", "softmax"), "use --output logit"),
        (("--fake-index", 5), "--fake-index 5"),
        (("--feature", "neck"), "no module 'neck'"),
        (("--model-arg", "head"), "KEY=VALUE"),
        (("--model-arg", "depth=3"), "unexpected keyword argument 'depth'"),
        (("--cache-memory", "much"), "--cache-memory 'much'"),
        (("--threads", 0), "--threads 0"),
        (("--seed", -1), "--seed"),
        (("--crop-margin", 0.3), "--crop-margin goes with --crop aligned or --crop box"),
        (("--crop-margin", 0.3, "--crop", "whole"), "--crop-margin goes with --crop aligned or --crop box"),
        (("--target", "fpga", "--activation-bits", 0), "--activation-bits 0: --target fpga takes 2 to 8"),
        (("--keep-float", "haed"), "--keep-float haed matches no module with weights; did you mean head"),
        (("--keep-float", "*"), "--keep-float * leaves nothing of tiny_detector:build to quantize"),
        (
            ("--keep-float", "stem", "--target", "fpga"),
            "--keep-float stem: --target fpga has no float layers",
        ),
        (("--config", "nowhere.toml"), "nowhere.toml cannot be read: No such file"),
        (("--on-corrupt", "ignore"), "Invalid value for '--on-corrupt': 'ignore' is not one of"),
        (("--recipe", "bst"), "'bst' is not one of 'best', 'paper'."),
        (("--samples", "many"), "--samples"),
        (("--colour", "red"), "No such option: --colour"),
        (("--weights", "nowhere.pth"), "nowhere.pth does not exist"),
        (("--calibration", "nowhere"), "nowhere does not exist"),
        (("--calibration", "tiny_detector.py"), "neither a folder nor a .csv"),
        (("--test", "faces/real"), "faces/real: images without a label"),
        (("--test", "nowhere"), "nowhere does not exist"),
    ],
)
def test_quantize_refuses(finished, options, message):
    assert message in refused(finished, *QUANTIZE, *options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("quantise",), "No such command 'quantise'"),
        (("quantize",), "Missing argument"),
        (("quantize", "tiny_detector:build", "--calibration", "faces"), "--out"),
        (("quantize", "dait_tiny", *QUANTIZE[2:]), "did you mean davit_tiny, deit_tiny"),
        (("quantize", "tiny_detector:make", *QUANTIZE[2:]), "has no factory 'make'; it has"),
        (("quantize", "nowhere:make", *QUANTIZE[2:]), "No module named 'nowhere'"),
        (("inspect", "nowhere"), "'nowhere' is unknown"),
        (("inspect", "tiny_detector:build", "--weights", "nowhere.pth"), "nowhere.pth does not exist"),
        (("evaluate", "nowhere", "--data", "faces"), "give a run folder"),
        (("evaluate", "tiny.pth", "--data", "faces"), "give a run folder"),
        (("evaluate", "faces", "--data", "faces"), "faces/config.json does not exist"),
        (("evaluate", "run", "--data", "nowhere"), "nowhere does not exist"),
        (("evaluate", "run", "--data", "faces/fake"), "images without a label"),
        (("evaluate", "run", "--data", "faces", "--which", "best"), "choose quantized, mixed or float"),
        (("evaluate", "run", "--data", "faces", "--which", "float"), "give --weights"),
        (("evaluate", "run", "--data", "faces", "--threads", "-2"), "--threads -2"),
        (("evaluate", "run"), "give --data"),
        (("evaluate", "run", "--latency"), "--latency and --against are for exported files"),
        (("evaluate", "nowhere.onnx", "--data", "faces"), "nowhere.onnx does not exist"),
        (("evaluate", "run", "--data", "faces", "--crop-margin", 0.1), "--crop-margin goes with --crop"),
        (
            ("evaluate", "run", "--data", "faces", "--weights", "tiny.pth"),
            "--weights goes with --which float",
        ),
        (("evaluate", "run", "--data", "faces", "--levels", 2), "--levels is for perturbations"),
        (("evaluate", "run", "--data", "faces", "--seed", 2), "--seed is for perturbations"),
        (
            ("evaluate", "run", "--data", "faces", "--perturb", "blur", "--scores", "s"),
            "--scores is not for --perturb",
        ),
        (("evaluate", "m.onnx", "--data", "faces", "--which", "mixed"), "--which is for run folders"),
        (
            ("evaluate", "m.onnx", "--latency", "--split", "val"),
            "--split is for labelled images; give --data",
        ),
        (("inspect", "run", "--samples", 9), "--samples is for detectors; run is a run"),
        (("export", "run", "--out", "x", "--weights", "tiny.pth"), "--weights goes with --which float"),
        (
            ("export", "run", "--out", "x", "--no-verify", "--data", "faces"),
            "--data is what the file is verified",
        ),
        (("export", "run", "--out", "x", "--runtime", "1.10"), "need onnxruntime 1.16"),
        (("export", "run", "--out", "x", "--runtime", "new"), "runtime 'new'"),
        (("export", "run", "--out", "x", "--which", "float"), "give --weights"),
        (
            ("export", "run", "--out", "x", "--format", "pdf"),
            "--format pdf: choose of onnx, qonnx, executorch",
        ),
        (("export", "run", "--out", "x", "--storage", "float"), "'float' is not one of"),
        (("export", "run", "--out", "x", "--format", "litert", "--pixels"), "is for --format onnx"),
    ],
)
def test_commands_refuse(finished, arguments, message):
    assert message in refused(finished, *arguments)


# ------------------------------------------------------------------------------------------ checkpoints


class Malicious:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_broken_checkpoints(workplace, tiny):
    folder, state = workplace.folder, tiny.model().state_dict()
    torch.save(state, folder / "whole.pth")
    (folder / "cut.pth").write_bytes((folder / "whole.pth").read_bytes()[:3000])
    (folder / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (folder / "words.pth").write_text("weights")
    torch.save({"state_dict": state, "hook": Malicious()}, folder / "code.pth")
    torch.save(tiny.other().state_dict(), folder / "other.pth")
    torch.save({**state, "head.bias": torch.tensor([float("nan")])}, folder / "nan.pth")
    torch.save({name: t for name, t in state.items() if name != "head.bias"}, folder / "less.pth")
    torch.save(tiny.model("two").state_dict(), folder / "two.pth")
    for name, message in {
        "cut.pth": "damaged, cut short",
        "cut.safetensors": "not an intact safetensors file",
        "words.pth": "damaged, cut short, or no checkpoint",
        "code.pth": "opening it would run code, so it was not opened",
        "other.pth": "these are the weights of another detector",
        "nan.pth": "head.bias holds values that are not finite",
        "less.pth": "1 missing: head.bias",
        "two.pth": "of another shape: head.weight",
    }.items():
        said = refused(workplace, *QUANTIZE, "--weights", name)
        assert name in said and message in said, said
    assert not (folder / "executed").exists(), "code in the checkpoint was run"
    said = refused(workplace, "inspect", "tiny_detector:build", "--weights", "code.pth")
    assert "would run code" in said and not (folder / "executed").exists()


# ------------------------------------------------------------------------------------------ images


def test_corrupt_images_are_named_or_skipped(workplace):
    """All others are grey, with and without transparency: those are used."""
    for file in (workplace.folder / "faces").rglob("*.png"):
        Image.open(file).convert("LA" if file.stem == "03" else "L").save(file)
    broken = workplace.folder / "faces" / "fake" / "07.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (workplace.folder / "faces" / "real" / "text.jpg").write_text("not an image")
    said = refused(workplace, *QUANTIZE, "--samples", 25)
    assert "2 of 25 images cannot be used" in said and ("fake/07.png" in said or "real/text.jpg" in said)
    assert "skip" in said

    outcome = workplace.quantize("--samples", 25, "--on-corrupt", "skip", "--json", iterations=0)
    assert outcome.status == 0, outcome.errors
    calibration = outcome.json()["calibration"]
    assert calibration["count"] == 23 and len(calibration["skipped"]) == 2
    assert any("fake/07.png" in name for name in calibration["skipped"])


def test_corrupt_test_images_are_reported_before_the_run(workplace):
    (workplace.folder / "faces" / "fake" / "03.png").write_text("not an image")
    good = workplace.folder / "good"
    shutil.copytree(workplace.folder / "faces" / "real", good / "real")
    said = refused(workplace, *QUANTIZE, "--calibration", "good", "--samples", 8, "--test", "faces")
    assert "1 of 24 images cannot be used" in said and "fake/03.png" in said


def test_too_few_images(workplace):
    folder = workplace.folder
    (folder / "empty").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "readme.txt").write_text("nothing")
    (folder / "few").mkdir()
    for index in range(7):
        shutil.copy(folder / "faces" / "real" / f"{index:02d}.png", folder / "few")
    assert "empty holds no images" in refused(workplace, *QUANTIZE, "--calibration", "empty")
    assert "notes holds no images" in refused(workplace, *QUANTIZE, "--calibration", "notes")
    assert "7 usable calibration images" in refused(workplace, *QUANTIZE, "--calibration", "few")
    shutil.copytree(folder / "faces" / "real", folder / "one" / "real")
    (folder / "one" / "fake").mkdir()
    said = refused(workplace, *QUANTIZE, "--test", "one")
    assert "only the label 0" in said and "an AUC needs real and fake images" in said


def test_tables_of_images(workplace):
    folder = workplace.folder
    for name, content, message in (
        ("nolabel.csv", "path,class\nfaces/real/00.png,0\n", "nolabel.csv has no column label"),
        ("nopath.csv", "file,label\nfaces/real/00.png,0\n", "nopath.csv has no column path"),
        ("nothing.csv", "", "nothing.csv has no column path"),
        ("word.csv", "path,label\nfaces/real/00.png,genuine\n", "line 2: label 'genuine'"),
        ("gone.csv", "path,label\nfaces/real/99.png,0\n", "faces/real/99.png"),
        ("onlyhead.csv", "path,label\n", "onlyhead.csv holds no images"),
    ):
        (folder / name).write_text(content)
        assert message in refused(workplace, *QUANTIZE, "--calibration", name)
        assert message in refused(workplace, *QUANTIZE, "--test", name)


# ------------------------------------------------------------------------------------------ where to write


def test_a_file_in_the_way(workplace):
    (workplace.folder / "file").write_text("mine")
    for out in ("file", "file/run"):
        said = refused(workplace, *QUANTIZE, "--out", out)
        assert said.startswith(f"cannot write {out}/") and "choose another --out" in said
    assert (workplace.folder / "file").read_text() == "mine"


def test_a_folder_that_nobody_may_write_to(workplace):
    out = Path("/proc/run") if os.geteuid() == 0 else workplace.folder / "locked" / "run"
    if os.geteuid():
        (workplace.folder / "locked").mkdir(mode=0o500)
    said = refused(workplace, *QUANTIZE, "--out", out)
    assert said.startswith(f"cannot write {out}/"), "and before the work starts"


def test_another_configuration_in_the_same_folder(finished):
    weights = (finished.folder / "run" / "weights.safetensors").read_bytes()
    for change in (("--seed", 1), ("--average-bits", 4), ("--std", 0.3), ("--model-arg", "seed=3")):
        arguments = (*QUANTIZE, "--weights", "tiny.pth", "--iterations", 6, "--out", "run", *change)
        if change[0] == "--model-arg":
            arguments = (*QUANTIZE, "--iterations", 6, "--out", "run", *change)
        said = refused(finished, *arguments)
        assert said.startswith("run holds a run with another configuration, detector or calibration set")
    assert (finished.folder / "run" / "weights.safetensors").read_bytes() == weights


def test_damaged_run_folders(finished, workplace):
    run = shutil.copytree(finished.folder / "run", workplace.folder / "run")
    evaluate = ("evaluate", "run", "--data", "faces")
    content = (run / "weights.safetensors").read_bytes()
    (run / "weights.safetensors").write_bytes(content[:-100])
    assert "run/weights.safetensors is damaged" in refused(workplace, *evaluate)
    (run / "weights.safetensors").unlink()
    assert "run/weights.safetensors does not exist" in refused(workplace, *evaluate)
    (run / "weights.safetensors").write_bytes(content)
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**settings, "plan": {}}))
    for command in (evaluate, ("inspect", "run")):
        assert "run/config.json is damaged" in refused(workplace, *command)
    (run / "config.json").write_text("{")
    for command in (evaluate, ("inspect", "run"), (*QUANTIZE, "--out", "run")):
        assert "damaged" in refused(workplace, *command) or command[0] == "quantize"
    (run / "report.json").unlink()
    assert "report.json does not exist" in refused(workplace, *QUANTIZE, "--out", "run")


# ------------------------------------------------------------------------------------------ full disks


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_writing_fails_whole(tmp_path, monkeypatch, number):
    """What was there stays; nothing half-written is left."""
    (tmp_path / "report.json").write_text("before")

    def fails(path, data):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", fails)
    with pytest.raises(UserError, match=f"report.json: {os.strerror(number)}; free space or choose another"):
        write_json(tmp_path / "report.json", {"a": 1})
    with pytest.raises(UserError):
        write_bytes(tmp_path / "new" / "weights.safetensors", b"12345678")
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["report.json"]
    assert (tmp_path / "report.json").read_text() == "before"


def _may_mount() -> bool:
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(probe, capture_output=True).returncode == 0


@pytest.mark.slow
def test_a_full_disk(workplace):
    """A real process on a real file system of 32 kB, smaller than the state of one block."""
    if not _may_mount():
        pytest.skip("file systems cannot be mounted here")
    (workplace.folder / "small").mkdir()
    arguments = [*QUANTIZE, "--out", "small/run", "--iterations", "1"]
    script = (
        'mount -t tmpfs -o size=32k none small && "$@"; status=$?; find small -type f > left; exit $status'
    )
    program = ["sh", "-c", script, "sh", sys.executable, "-m", "brevitas_defakeq", *arguments]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", *program], cwd=workplace.folder, capture_output=True,
        text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("defakeq: cannot write small/run/") and done.stderr.count("\n") == 1, (
        done.stderr
    )
    assert "No space left on device; free space" in done.stderr
    assert "partial" not in (workplace.folder / "left").read_text()
