"""``python -m benchmarks``: its tasks, rows for real on a tiny detector, the page."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import learning_rates
from benchmarks.measures import by_dataset
from benchmarks.presets import OURS, PEERS, PRESETS
from benchmarks.suite import compressed
from benchmarks.suite import run as suite_run
from benchmarks.suite.charts import knee
from benchmarks.suite.faces import FULL, QUICK, calibration_faces
from benchmarks.suite.material import Material
from benchmarks.suite.method_tables import leaders
from benchmarks.suite.page import write_page
from benchmarks.suite.rows import by_setting
from benchmarks.suite.saliency import compared_maps
from benchmarks.suite.tasks import SUITES, WHOLE, Task, tasks
from benchmarks.tables import reports
from brevitas_defakeq.artifact import float_bytes
from brevitas_defakeq.calibration_set import from_tensors
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.quantization_request import prepare_request
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


def without_files(monkeypatch):
    """Rows without the size of an ONNX file."""
    monkeypatch.setattr(suite_run, "_file_bytes", lambda _: None)


@pytest.mark.parametrize(
    "method",
    [
        name if name in (*PEERS, "paper", "best") else pytest.param(name, marks=pytest.mark.slow)
        for name in PRESETS
    ],
)
def test_every_preset_gives_a_row(method, tiny_material, monkeypatch):
    """The file is written for one of each kind: to export takes longer than to quantize."""
    monkeypatch.setitem(PRESETS, method, quick(PRESETS[method]))
    if method not in ("best", "AdaLog"):
        without_files(monkeypatch)
    row = suite_run.run(Task("tiny", method, 4.0, samples=32, test=QUICK))
    json.dumps(row)
    assert (row["bytes"]["onnx"] is not None) == (method == "best"), "logarithmic activations have none"
    flips = row["metrics"]["fidelity"]["flips"]
    assert flips["n"] == 32 and set(row["metrics"]["parts"]) == {"in domain", "held out"}
    assert row["bytes"]["weights"] < 0.5 * row["bytes"]["float"]
    uniform = set(row["bits"].values())
    assert uniform <= ({4.0, 8.0} if method in PEERS else set(range(1, 9)))


def test_a_row_says_what_was_measured(tiny_material, monkeypatch):
    """Its flips and error are those of the quantized detector's own scores."""
    row = suite_run.run(Task("tiny", "nearest", 2.0, samples=32, test=QUICK))
    without_files(monkeypatch)
    rounded = suite_run.run(Task("tiny", "nearest", 8.0, samples=32, test=QUICK))
    assert row["metrics"]["relative_error"] > 10 * rounded["metrics"]["relative_error"] > 0
    assert row["bytes"]["onnx"] > row["bytes"]["weights"]


def test_fractional_averages_take_our_widths(tiny_material, monkeypatch):
    method = "best, uniform widths"
    without_files(monkeypatch)
    monkeypatch.setitem(PRESETS, method, quick(PRESETS[method]))
    row = suite_run.run(Task("tiny", "nearest", 3.5, samples=32, test=QUICK))
    assert 3 < row["average_bits"] <= 3.5
    assert len(set(row["bits"].values())) > 1
    without = suite_run.run(Task("tiny", method, 3.5, samples=32, test=QUICK))
    assert set(without["bits"].values()) == {3.0}


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
    first = tasks("quick")[0]
    write_json(tmp_path / "rows" / f"{first.name}.json", {})
    monkeypatch.setattr("sys.argv", ["benchmarks", "--list", "--out", str(tmp_path)])
    command.main()
    listed = capsys.readouterr().out.split()
    assert first.name not in listed and len(listed) == len(tasks("quick")) - 1


def test_committed_rows_are_on_the_committed_page(tmp_path):
    committed = command.COMMITTED
    write_page(committed.rows, command.PEERS, tmp_path / "page.md", tmp_path)
    assert (tmp_path / "page.md").read_text() == committed.page.read_text()


def test_labels_of_the_material_are_the_test_sets(tiny_material, labels):
    np.testing.assert_array_equal(tiny_material.labels, labels.numpy())


def test_other_compression_takes_the_bytes_of_best(tiny_material, quick_steps, tmp_path, monkeypatch):
    folders = command.Folders(tmp_path, tmp_path / "page.md", tmp_path)
    monkeypatch.setattr(compressed, "material", lambda *_, **__: tiny_material)
    task = Task("tiny", "truncated SVD", 8.0, samples=32, test=QUICK)
    with pytest.raises(UserError, match="tiny-best-w8a8-s0-n32-t1000; measure that first"):
        command.measured_row(task, None, folders)
    target = int(0.5 * float_bytes(tiny_material.detector.model))
    write_json(tmp_path / f"{replace(task, method='best').name}.json", {"bytes": {"weights": target}})
    monkeypatch.setattr(compressed, "DefakeQConfig", SimpleNamespace(for_recipe=lambda *_, **__: quick_steps))
    row = command.measured_row(task, None, folders)
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
    table = page[page.index("## Other tools") : page.index("## demo, 3 bits")]
    assert [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")] == [
        "| file", "| float", "| onnxruntime, static_int8", "| **defakeq, best**",
    ]  # fmt: skip
    assert "- torchao, int4: no convolutions" in table


def test_a_size_out_of_reach_is_a_row_that_says_so(tiny_material, quick_steps, tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "material", lambda *_, **__: tiny_material)
    monkeypatch.setattr(compressed, "DefakeQConfig", SimpleNamespace(for_recipe=lambda *_, **__: quick_steps))
    task = Task("tiny", "truncated SVD", 2.0, samples=32, test=QUICK)
    write_json(tmp_path / f"{replace(task, method='best').name}.json", {"bytes": {"weights": 10}})
    row = command.measured_row(task, None, command.Folders(tmp_path, tmp_path / "page.md", tmp_path))
    assert row["task"]["method"] == "truncated SVD" and "10" in row["refused"]
    write_json(tmp_path / f"{task.name}.json", row)
    (tmp_path / f"{replace(task, method='best').name}.json").unlink()
    write_page(tmp_path, tmp_path / "peers", tmp_path / "page.md", tmp_path)
    assert f"- tiny, truncated SVD, 2 bits: {row['refused']}" in (tmp_path / "page.md").read_text()


def test_best_leads_only_where_it_flips_least(tmp_path):
    for vehicle in WHOLE:
        for method, share in {"best": 0.02, "BRECQ": 0.01, "QDrop": 0.03}.items():
            rows(tmp_path / f"{vehicle}{method}", vehicle=vehicle)
            content = json.loads((tmp_path / f"{vehicle}{method}" / "best.json").read_text())
            content["task"]["method"] = method
            content["metrics"]["fidelity"]["flips"]["share"] = share
            write_json(tmp_path / f"{vehicle}-{method}.json", content)
    table = leaders(by_setting(reports(tmp_path).values()))
    assert "| 3 | 8 | 2.00 % | 99.00 % | BRECQ, 1.00 % | BRECQ, 99.00 % | BRECQ, 1.00 % | 3 |" in table


def test_few_test_images_give_way_to_many():
    task = {"vehicle": "demo", "activation_bits": 8, "bits": 3.0, "samples": 256}
    few, many = ({"task": task | {"test": {"in_domain": size}}} for size in (1000, 4000))
    assert list(by_setting([many, few]).values()) == [[many]]


def test_the_knee_is_the_sharpest_turn():
    assert knee([60.0, 75.0, 90.0, 120.0], [1.0, 0.01, 0.009, 0.008]) == 1


def test_maps_agree_with_themselves_and_not_with_another_detectors(tiny_material, detectors):
    detector = tiny_material.detector
    observer = prepare_request(
        detector, tiny_material.calibration, DefakeQConfig(samples=32), device=torch.device("cpu")
    ).observer
    same = compared_maps(detector.model, detector.model, observer, tiny_material.test)
    assert same["mean"] == same["lowest"] == pytest.approx(1.0)
    changed = copy.deepcopy(detector.model)
    with torch.no_grad():
        for weight in changed.parameters():
            weight.copy_(torch.randn_like(weight))
    other = compared_maps(detector.model, changed, observer, tiny_material.test)
    assert other["mean"] < 0.9
    assert len(other["shown"]) == len(other["quantized"]) == 4
    assert all(tiny_material.test.samples[index].label == 1 for index in other["shown"])


@pytest.mark.slow
def test_the_command_measures_in_processes_of_its_own(tmp_path, monkeypatch, capsys):
    arguments = ["benchmarks", "--only", "resnet-nearest", "--out", str(tmp_path), "--jobs", "1"]
    monkeypatch.setattr("sys.argv", arguments)
    command.main()
    assert "resnet-nearest-w3a8-s0-t1000: AUC" in capsys.readouterr().out
    assert "| nearest |" in (tmp_path / "comparison.md").read_text()


def test_presets_have_the_better_of_two_learning_rates():
    measured = json.loads(learning_rates.RESULT.read_text())
    chosen = learning_rates.best_rates(measured)
    for method, preset in PEERS.items():
        config = preset.config(average_bits=3.0)
        if learning_rates.rates_of(config):
            assert learning_rates.rate_of(config) == chosen[method], method


def test_the_better_rate_is_judged_over_all_detectors():
    errors = {"a X": {"0.1": 1.0, "0.03": 2.0}, "b X": {"0.1": 5.0, "0.03": 2.0}}
    assert learning_rates.best_rates(errors) == {"X": 0.03}
