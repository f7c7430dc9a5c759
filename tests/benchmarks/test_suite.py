"""``python -m benchmarks``: its tasks, rows for real on a tiny detector, the page."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks.measures import by_dataset
from benchmarks.presets import OURS, PEERS, PRESETS
from benchmarks.suite import compressed
from benchmarks.suite import run as suite_run
from benchmarks.suite.faces import FULL, QUICK, calibration_faces
from benchmarks.suite.material import Material
from benchmarks.suite.table import write_page
from benchmarks.suite.tasks import SUITES, Task, tasks
from brevitas_defakeq.calibration_set import from_tensors
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json


def test_every_task_has_a_file_of_its_own():
    for suite in SUITES:
        names = [task.name for task in tasks(suite)]
        assert names and len(names) == len(set(names))


def test_presets_differ_and_name_where_they_come_from():
    configs = {name: preset.config(average_bits=3).to_dict() for name, preset in PRESETS.items()}
    assert len({json.dumps(config, sort_keys=True) for config in configs.values()}) == len(configs)
    assert all(preset.paper for preset in PRESETS.values())
    assert all(not config["haq"]["enabled"] for name, config in configs.items() if name in PEERS)
    assert configs["best"] == OURS["best"].config(average_bits=3).to_dict()


@pytest.fixture
def tiny_material(monkeypatch, detectors, images, labels):
    """The suite on a tiny detector: 32 calibration images, 32 test images of two data sets."""
    made = replace(detectors("tiny"), preprocessing=Preprocessing((16, 16), mean=0.0, std=1.0))
    test = LabelledSet.from_tensors(images.flip(3), labels, ["in domain"] * 16 + ["held out"] * 16)
    parts = by_dataset([sample.dataset for sample in test.samples])
    given = Material(made, from_tensors(images, labels, 32), test, parts)
    monkeypatch.setattr(suite_run, "material", lambda *_, **__: given)
    monkeypatch.setattr(suite_run, "_FLOAT_SCORES", {})
    return given


def quick(preset):
    """The preset with few steps."""

    def change(config):
        config = preset.change(config)
        work, final = config.reconstruction, config.final
        return replace(
            config,
            reconstruction=replace(work, iterations=min(4, work.iterations)),
            final=replace(final, steps=min(2, final.steps)),
        )

    return replace(preset, change=change)


@pytest.mark.parametrize(
    "method",
    [
        name if name in (*PEERS, "paper", "best") else pytest.param(name, marks=pytest.mark.slow)
        for name in PRESETS
    ],
)
def test_every_preset_gives_a_row(method, tiny_material, monkeypatch):
    monkeypatch.setitem(PRESETS, method, quick(PRESETS[method]))
    row = suite_run.run(Task("tiny", method, 4.0, samples=32, test=QUICK))
    json.dumps(row)
    flips = row["metrics"]["fidelity"]["flips"]
    assert flips["n"] == 32 and set(row["metrics"]["parts"]) == {"in domain", "held out"}
    assert row["bytes"]["weights"] < 0.5 * row["bytes"]["float"]
    uniform = set(row["bits"].values())
    assert uniform <= ({4.0, 8.0} if method in PEERS else set(range(1, 9)))


def test_a_row_says_what_was_measured(tiny_material):
    """Its flips and error are those of the quantized detector's own scores."""
    row = suite_run.run(Task("tiny", "nearest", 2.0, samples=32, test=QUICK))
    rounded = suite_run.run(Task("tiny", "nearest", 8.0, samples=32, test=QUICK))
    assert row["metrics"]["relative_error"] > 10 * rounded["metrics"]["relative_error"] > 0
    assert row["bytes"]["onnx"] > row["bytes"]["weights"]


def test_fractional_averages_take_our_widths(tiny_material):
    row = suite_run.run(Task("tiny", "nearest", 3.5, samples=32, test=QUICK))
    assert 3 < row["average_bits"] <= 3.5
    assert len(set(row["bits"].values())) > 1


def rows(tmp_path, **changes):
    content = {
        "paper": "", "differs": "", "seconds": {"whole": 5.0}, "average_bits": 3.0, "float_auc": 0.9,
        "bytes": {"float": 1000, "weights": 100, "onnx": 150},
        "metrics": {
            "auc": 0.891, "auc_kept": 0.99, "relative_error": 0.02,
            "fidelity": {
                "flips": {"share": 0.015, "interval": [0.01, 0.02], "n": 1200},
                "largest_probability_change": 0.3,
            },
            "parts": {"in domain": {"auc": 0.9}, "held out": {"auc": 0.75}},
        },
    }  # fmt: skip
    for method, share in {"best": 0.015, "BRECQ": 0.03}.items():
        task = {"vehicle": "demo", "method": method, "bits": 3.0, "activation_bits": 8, "seed": 0,
                "samples": 256, "test": {"in_domain": 1000, "held_out": 200}} | changes  # fmt: skip
        content["metrics"]["fidelity"]["flips"]["share"] = share
        write_json(tmp_path / f"{method}.json", content | {"task": task})


def test_the_page_has_the_best_first_and_is_the_same_twice(tmp_path):
    rows(tmp_path / "json")
    pages = []
    for name in ("first", "second"):
        write_page(tmp_path / "json", tmp_path / "peers", tmp_path / f"{name}.md", tmp_path / name)
        pages.append(
            (tmp_path / f"{name}.md").read_bytes() + (tmp_path / name / "pareto-demo.svg").read_bytes()
        )
    assert pages[0] == pages[1]
    lines = (tmp_path / "first.md").read_text().splitlines()
    best, brecq = (
        next(i for i, line in enumerate(lines) if line.startswith(f"| {m} ")) for m in ("best", "BRECQ")
    )
    assert best < brecq
    assert "| 100 | 10.0 % | 0.8910 | 99.00 % | 0.900, 0.750 | 1.50 % | 1.00 to 2.00 %" in lines[best]


def test_photographs_need_their_folder():
    from benchmarks.suite.material import material

    with pytest.raises(UserError, match="--data"):
        material("hybrid", samples=32, seed=0, size=FULL, data=None)


def test_drawn_faces_are_kept_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn, stored = (calibration_faces(8, 0) for _ in range(2))
    torch.testing.assert_close(drawn[0], stored[0], rtol=0, atol=0)
    assert drawn[0].shape == (8, 3, 128, 128) and set(drawn[1].tolist()) == {0, 1}
    other, _ = calibration_faces(8, 1)
    assert not torch.equal(other, drawn[0])


def test_rows_that_are_there_are_not_measured_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    first = tasks("quick")[0]
    write_json(tmp_path / f"{first.name}.json", {})
    monkeypatch.setattr("sys.argv", ["benchmarks", "--list"])
    command.main()
    listed = capsys.readouterr().out.split()
    assert first.name not in listed and len(listed) == len(tasks("quick")) - 1


def test_committed_rows_are_on_the_committed_page(tmp_path):
    if not command.PAGE.exists():
        pytest.skip("nothing measured yet")
    write_page(command.RESULTS, command.PEERS, tmp_path / "page.md", tmp_path)
    assert (tmp_path / "page.md").read_text() == command.PAGE.read_text()


def test_labels_of_the_material_are_the_test_sets(tiny_material, labels):
    np.testing.assert_array_equal(tiny_material.labels, labels.numpy())


def test_other_compression_takes_the_bytes_of_best(tiny_material, quick_steps, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(compressed, "material", lambda *_, **__: tiny_material)
    task = Task("tiny", "truncated SVD", 8.0, samples=32, test=QUICK)
    with pytest.raises(UserError, match="tiny-best-w8a8-s0-n32-t1000; measure that first"):
        command.measured_row(task, None)
    target = int(0.5 * suite_run.run(replace(task, method="nearest"))["bytes"]["float"])
    write_json(tmp_path / f"{replace(task, method='best').name}.json", {"bytes": {"weights": target}})
    monkeypatch.setattr(compressed, "DefakeQConfig", SimpleNamespace(for_recipe=lambda *_, **__: quick_steps))
    row = command.measured_row(task, None)
    assert 0.98 * target <= row["bytes"]["weights"] <= target
    assert row["task"]["method"] == "truncated SVD" and row["metrics"]["fidelity"]["flips"]["n"] == 32


def test_other_tools_stand_beside_ours_by_size(tmp_path):
    rows(tmp_path / "json")
    fidelity = {
        "flips": {"share": 0.05, "interval": [0.04, 0.06], "n": 1200},
        "largest_probability_change": 0.3,
    }
    metrics = {"auc": 0.88, "auc_kept": 0.98, "relative_error": 0.1, "fidelity": fidelity}
    shared = {"vehicle": "demo", "weights": "8", "activations": "8", "metrics": metrics}
    made = {
        "float": {"tool": "float", "method": "float", "bytes": 1000},
        "int8": {"tool": "onnxruntime", "method": "static_int8", "bytes": 300},
        "refused": {"tool": "torchao", "method": "int4", "refused": "no convolutions"},
    }
    for name, row in made.items():
        write_json(tmp_path / "peers" / f"demo.{name}.json", shared | row)
    write_page(tmp_path / "json", tmp_path / "peers", tmp_path / "page.md", tmp_path)
    page = (tmp_path / "page.md").read_text()
    table = page[page.index("## Other tools") :]
    assert [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")] == [
        "| file", "| float", "| onnxruntime, static_int8", "| **defakeq, best**",
    ]  # fmt: skip
    assert "- torchao, int4: no convolutions" in table
