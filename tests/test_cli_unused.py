"""Options that would do nothing: the data decide, so a warning says so. Refusals: test_bad_input.py."""

from types import SimpleNamespace

import pytest

from brevitas_defakeq.cli_unused import say_unused_data_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "val"), "--split is not used: folders and shards have no splits"),
        (("--compression", "c40"), "--compression is not used: no source is FaceForensics++ or a part of it"),
        (("--root", "faces"), "--root is not used: no source is a DeepfakeBench index"),
        (("--first",), "--first is not used: without --frames all images are read"),
        (("--crop", "box"), "--crop is not used: images are taken as face crops; --faces largest crops them"),
        (("--crops-cache", "c"), "--crops-cache is not used: images are taken as face crops"),
        (("--frames", 1, "--first"), ""),
        ((), ""),
    ],
)
def test_evaluate_says_what_the_data_leave_unused(finished, options, message):
    outcome = finished("evaluate", "run", "--data", "others", *options)
    assert outcome.status == 0 and outcome.errors.startswith(f"WARNING: {message}" if message else "")
    assert outcome.errors.count("WARNING") == bool(message), outcome.errors


def test_a_filter_for_a_detector_that_does_not_resize(workplace):
    (workplace.folder / "cropping.py").write_text(
        "import tiny_detector\n"
        "def build():\n"
        "    model, values = tiny_detector.build()\n"
        "    return model, {**values, 'fit': 'centre'}\n"
    )
    outcome = workplace("inspect", "cropping:build", "--interpolation", "bicubic", "--json")
    assert outcome.status == 0
    assert outcome.errors.startswith("WARNING: --interpolation is not used: this detector crops the centre")


def test_a_broken_image_is_skipped_on_demand(finished, workplace):
    broken = workplace.folder / "others" / "fake" / "07.png"
    broken.write_bytes(broken.read_bytes()[:60])
    arguments = "evaluate", finished.folder / "run", "--data", "others", "--json"
    assert "07.png cannot be read" in workplace(*arguments).one_line()
    outcome = workplace(*arguments, "--on-corrupt", "skip")
    assert outcome.json()["n"] == 23
    assert "1 of 24 images left out, the first: others/fake/07.png" in outcome.errors


def test_options_of_a_benchmark_are_used_there(tmp_path, caplog):
    """An index has splits, compressions and a root; the frames folders of FaceForensics++ no root."""
    names = {"root": tmp_path, "compression": "c40", "split": "val"}
    options = [SimpleNamespace(name=n, opts=[f"--{n}"], param_type_name="option") for n in names]
    context = SimpleNamespace(
        params=names, command=SimpleNamespace(params=options),
        get_parameter_source=lambda name: SimpleNamespace(name="COMMANDLINE"),
    )  # fmt: skip
    (tmp_path / "index.json").write_text("{}")
    say_unused_data_options(context, [str(tmp_path / "index.json"), None], None)
    assert caplog.records == []
    frames = (
        tmp_path / "FaceForensics++" / "manipulated_sequences" / "Deepfakes" / "c40" / "frames" / "000_001"
    )
    frames.mkdir(parents=True)
    say_unused_data_options(context, [str(tmp_path / "FaceForensics++")], None)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["--root"]
