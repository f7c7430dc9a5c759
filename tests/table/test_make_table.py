"""A small table, whole: figures by hand, cells that are kept, and what is refused before anything runs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from brevitas_defakeq import UserError, load
from brevitas_defakeq.artifact import float_bytes
from brevitas_defakeq.data.image_batches import preprocess
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.imaging.image_files import load_image
from brevitas_defakeq.table import make_table as make
from brevitas_defakeq.table import method_models as models
from brevitas_defakeq.table.make_table import make_table
from brevitas_defakeq.table.method_models import MethodModels
from brevitas_defakeq.table.table_cells import all_cells
from brevitas_defakeq.table.table_spec import DetectorRow, Method, TableSpec

SETTINGS = {
    "samples": 12, "haq": {"relaxed_steps": 20}, "reconstruction": {"iterations": 1}, "final": {"steps": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sets of small images: for calibration, and "easy", "hard" and "more" for tests."""
    root, generator = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    for name, count in (("train", 8), ("easy", 10), ("hard", 9), ("more", 6)):
        for label in ("real", "fake"):
            (root / name / label).mkdir(parents=True)
            for index in range(count):
                blocks = Image.fromarray(generator.integers(0, 255, (5, 5, 3), dtype=np.uint8))
                smooth = Image.Resampling.BICUBIC if label == "real" else Image.Resampling.NEAREST
                blocks.resize((20, 20), smooth).save(root / name / label / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def spec(tiny, folder):
    return TableSpec(
        detectors=(DetectorRow("tiny_detector:build", None, "two", {"model_args": {"head": "two"}}),),
        datasets={"easy": str(folder / "easy"), "hard | set": str(folder / "hard")},
        methods=(Method("round_to_nearest", 4), Method("defakeq", 3), Method("defakeq", 3, form="mixed")),
        calibration=str(folder / "train"),
        settings=SETTINGS,
    )


@pytest.fixture(scope="module")
def made(spec, tmp_path_factory):
    out, progress = tmp_path_factory.mktemp("out"), []
    found = make_table(spec, out, on_progress=lambda *news: progress.append(news))
    return found, out, progress


def logits(model, detector, data):
    samples = read_source(data)
    batch = torch.stack([preprocess(load_image(each.path), detector.preprocessing) for each in samples])
    with torch.no_grad():
        return [each.label for each in samples], detector.output.fake_logit(model(batch)).numpy()


def test_every_cell_is_evaluate_celld(made, spec):
    found, out, progress = made
    assert len(found["cells"]) == 4 * 2
    assert [news for news in progress if news[0] == "table"] == [("table", done, 8) for done in range(9)]
    labels = ["float", "nearest 4 bits", "DeFakeQ 3 bits", "DeFakeQ 3 bits, restored"]
    for row in spec.detectors:
        detector = resolve(row.name, **row.options)
        (run,) = (out / "runs").iterdir()
        result = load(run)
        variants = dict(zip(labels, (detector.model, None, result.quantized, result.mixed), strict=True))
        for dataset, data in spec.datasets.items():
            for method, model in variants.items():
                (cell,) = [
                    cell for cell in found["cells"]
                    if (cell["detector"], cell["method"], cell["dataset"]) == (row.label, method, dataset)
                ]  # fmt: skip
                figures = cell["figures"]
                assert found["auc"][dataset][row.label][method] == figures["auc"]
                assert ("drop" in figures) == ("fidelity" in figures) == (method != "float")
                if model is not None:
                    truth, scores = logits(model, detector, data)
                    assert figures["auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
                if "fidelity" in figures:
                    share = figures["fidelity"]["flips"]["share"]
                    assert found["flips"][dataset][row.label][method] == share
                    assert figures["video"]["fidelity"]["flips"]["n"] <= figures["n"]
                if "drop" in figures:
                    reference = found["auc"][dataset][row.label]["float"]
                    assert figures["drop"]["auc"] == pytest.approx(reference - figures["auc"])
        for method in labels:
            each = [found["auc"][dataset][row.label][method] for dataset in spec.datasets]
            assert found["mean"][row.label][method] == pytest.approx(np.mean(each))


SIGMOID = """
import torch, tiny_detector

class Inside(torch.nn.Sequential):
    def forward(self, images):
        return torch.sigmoid(super().forward(images))

def build():
    model, how = tiny_detector.build()
    return Inside(model), how
"""


def test_a_table_reads_outputs_as_its_runs_do(spec, tmp_path, monkeypatch):
    """A network that ends in a sigmoid: probabilities in the float cells as in the others."""
    (tmp_path / "ends_in_a_sigmoid.py").write_text(SIGMOID)
    monkeypatch.chdir(tmp_path)
    found = MethodModels(spec, DetectorRow("ends_in_a_sigmoid:build"), "cpu", lambda *_: None)
    assert found.observer.output.kind == "probability"


def test_sizes_are_those_of_the_files(made, spec):
    found, out, _ = made
    for row in spec.detectors:
        sizes, whole = found["sizes"][row.label], float_bytes(resolve(row.name, **row.options).model)
        (run,) = (out / "runs").iterdir()
        files = {"DeFakeQ 3 bits": "weights", "DeFakeQ 3 bits, restored": "mixed"}
        for method, name in files.items():
            assert sizes[method]["bytes"] == (run / f"{name}.safetensors").stat().st_size
            assert sizes[method]["average_bits"] <= 3
        assert sizes["float"]["bytes"] == whole and sizes["float"]["compression_percent"] == 0
        nearest = sizes["nearest 4 bits"]
        assert nearest["bytes"] < whole and nearest["average_bits"] == 4
        assert nearest["mib"] == nearest["bytes"] / 2**20
        assert nearest["compression_percent"] == pytest.approx(100 - 100 * nearest["bytes"] / whole)


def test_the_run_is_of_the_settings_and_the_calibration_data(made, spec, folder):
    _, out, _ = made
    (run,) = (out / "runs").iterdir()
    result = load(run)
    assert result.config == spec.config(spec.methods[2]) and result.config.samples == 12
    files = result.report["calibration"]["files"]
    assert len(files) == 12 and all(file.startswith(str(folder / "train")) for file in files)


def test_nothing_is_done_twice(made, spec, monkeypatch):
    found, out, _ = made
    monkeypatch.setattr(make, "_evaluate_cell", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(MethodModels, "made", lambda *_: pytest.fail("made again"))
    assert make_table(spec, out) == found == json.loads((out / "table.json").read_text())


def test_what_is_missing_is_made_and_nothing_else(made, spec, monkeypatch, tmp_path):
    """A cell without its JSON, one without its scores: each is measured again, from the run that is there."""
    found, out, _ = made
    shutil.copytree(out, tmp_path / "out")
    out = tmp_path / "out"
    lost = [
        out / "cells" / "two--DeFakeQ_3_bits--easy.json",
        out / "scores" / "two--nearest_4_bits--hard_set.csv",
    ]
    for path in lost:
        path.unlink()
    measured, whole = [], make._evaluate_cell

    def counting(cell, *rest):
        measured.append((cell.detector.label, cell.method.label, cell.dataset))
        return whole(cell, *rest)

    monkeypatch.setattr(make, "_evaluate_cell", counting)
    monkeypatch.setattr(models, "quantize", lambda *_, **__: pytest.fail("quantized again"))
    again = make_table(spec, out)
    assert measured == [("two", "nearest 4 bits", "hard | set"), ("two", "DeFakeQ 3 bits", "easy")]
    assert again["auc"] == found["auc"] and all(path.exists() for path in lost)


def test_a_table_that_grows_keeps_its_cells(made, spec, folder, monkeypatch, tmp_path):
    found, out, _ = made
    shutil.copytree(out, tmp_path / "out")
    monkeypatch.setattr(models, "quantize", lambda *_, **__: pytest.fail("quantized again"))
    wider = replace(
        spec, datasets={**spec.datasets, "more": str(folder / "more")}, methods=(spec.methods[2],)
    )
    grown = make_table(wider, tmp_path / "out")
    assert len(grown["cells"]) == 2 * 3 and "more" in grown["auc"]
    for method in ("float", "DeFakeQ 3 bits"):
        assert grown["auc"]["easy"]["two"][method] == found["auc"]["easy"]["two"][method]


def test_cells_of_another_table_are_refused(made, spec, tmp_path):
    _, out, _ = made
    shutil.copytree(out, tmp_path / "out")
    other = replace(spec, settings={**SETTINGS, "seed": 5})
    with pytest.raises(UserError, match="nearest_4_bits--easy.json was measured with other settings; remove"):
        make_table(other, tmp_path / "out")
    same = [
        before.identity() == after.identity()
        for before, after in zip(all_cells(spec, out), all_cells(other, out), strict=True)
    ]
    assert same == [True] * 2 + [False] * 6, "no setting of a run has a part in the float detector's cells"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detectors": (DetectorRow("no_such_detector_x"),)}, "detector 'no_such_detector_x' is unknown"),
        ({"detectors": (DetectorRow("demo", "no.pth"),)}, "no.pth"),
        ({"datasets": {"a": "nowhere"}}, "nowhere does not exist"),
        ({"calibration": "nowhere.csv"}, "nowhere.csv does not exist"),
        ({"datasets": {"a b": "x", "a_b": "x"}}, "two cells would be called .*give labels that differ"),
    ],
)
def test_wrong_tables_are_refused_before_the_first_run(spec, tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(MethodModels, "made", lambda *_: pytest.fail("something ran"))
    with pytest.raises(UserError, match=message):
        make_table(replace(spec, **change), tmp_path)


def test_one_class_is_refused_before_the_first_run(spec, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(MethodModels, "made", lambda *_: pytest.fail("something ran"))
    with pytest.raises(UserError, match="fake: images without a label"):
        make_table(replace(spec, datasets={"half": str(folder / "easy" / "fake")}), tmp_path)


def test_images_that_calibrate_may_not_judge(spec, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(MethodModels, "made", lambda *_: pytest.fail("something ran"))
    with pytest.raises(UserError, match="12 of 12 calibration images are in the data set again too"):
        make_table(replace(spec, datasets={"again": str(folder / "train")}), tmp_path)


def test_of_one_csv_train_calibrates_and_test_is_reported(spec, folder, tmp_path):
    """And what the selection says holds for both."""
    lines = ["path,label,split,video"]
    for name, split in (("train", "train"), ("easy", "test")):
        for label in ("real", "fake"):
            lines += [
                f"{folder}/{name}/{label}/{index}.png,{label},{split},{name}{label}{index // 2}"
                for index in range(8)
            ]
    listing = tmp_path / "all.csv"
    listing.write_text("\n".join(lines))
    both = replace(spec, datasets={"all": str(listing)}, calibration=str(listing), selection={"frames": 1})
    assert {sample.path.parents[1].name for sample in both.calibration_data()} == {"train"}
    assert {sample.path.parents[1].name for sample in both.test_data("all")} == {"easy"}
    assert len(both.test_data("all")) == len(both.calibration_data()) == 8
    with pytest.raises(UserError, match="selection has no 'split'; it may hold compression"):
        replace(spec, selection={"split": "val"})
