"""Variants of a run on files and on drawn faces, against each model run by hand."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from brevitas_defakeq.data.image_batches import preprocess
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.evaluation.evaluate_run import evaluate, evaluate_variants
from brevitas_defakeq.evaluation.predictors import RunPredictor
from brevitas_defakeq.evaluation.score_file import read_scores
from brevitas_defakeq.utils.errors import UserError


def by_hand(model, faces, how):
    samples, read = faces
    batch = torch.stack([preprocess(read(sample), how) for sample in samples])
    with torch.no_grad():
        return model(batch).reshape(-1).numpy()


@pytest.fixture(scope="module")
def found(made_run, faces, contrasts, tmp_path_factory):
    folder, progress = tmp_path_factory.mktemp("scores"), []
    result = evaluate_variants(
        RunPredictor.of(made_run, ("float", "quantized", "mixed"), contrasts()), faces[0],
        images=faces[1], scores=folder, no_face=3,
        on_progress=lambda *news: progress.append(news),
    )  # fmt: skip
    return result, folder, progress


def test_every_variant_is_its_model(found, made_run, faces, contrasts):
    result, folder, progress = found
    labels = [sample.label for sample in faces[0]]
    models = {"quantized": made_run.quantized, "mixed": made_run.mixed, "float": contrasts()}
    assert list(result["forms"]) == list(models) and result["form"] == "quantized"
    for variant, model in models.items():
        logits, metrics = by_hand(model, faces, made_run.preprocessing), result["forms"][variant]
        np.testing.assert_allclose(read_scores(folder / f"{variant}.csv").logits, logits, atol=1e-6)
        assert metrics["auc"] == pytest.approx(roc_auc_score(labels, logits))
        threshold = made_run.report["threshold"][variant]
        assert metrics["accuracy"] == np.mean((logits > threshold) == np.array(labels))
        assert metrics["threshold"] == threshold and metrics["no_face"] == 3
        assert 0 < metrics["fidelity"]["rank_correlation"] <= 1
        assert set(metrics["per_dataset"]["drawn"]["per_manipulation"]) == {
            sample.manipulation for sample in faces[0] if sample.label
        }
    quantized = result["forms"]["quantized"]
    assert {key: result[key] for key in quantized} == quantized
    assert quantized["drop"]["auc"] == pytest.approx(result["forms"]["float"]["auc"] - quantized["auc"])
    assert (
        quantized["fidelity"]["feature_snr_db"] < result["forms"]["mixed"]["fidelity"]["feature_snr_db"] < 200
    )
    assert progress == [("score", done, 48) for done in (16, 32, 48)]


def test_the_score_file_says_what_each_frame_is(found, faces):
    _, folder, _ = found
    with open(folder / "mixed.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, sample in zip(rows, faces[0], strict=True):
        assert (row["path"], int(row["label"])) == (sample.path.as_posix(), sample.label)
        assert (row["dataset"], row["manipulation"]) == ("drawn", sample.manipulation)
        assert float(row["probability"]) == pytest.approx(1 / (1 + np.exp(-float(row["logit"]))), abs=1e-6)


def test_one_variant_alone_needs_no_float(found, made_run, faces):
    samples, read = faces
    data = LabelledSet.from_source(samples, made_run.preprocessing, read=read)
    alone = evaluate(made_run, data, variant="mixed")
    both = found[0]["forms"]["mixed"]
    shared = {key: both[key] for key in ("auc", "auc_interval", "eer", "ap", "accuracy", "video_auc", "ece")}
    assert {key: alone[key] for key in shared} == shared
    assert "fidelity" not in alone and "drop" not in alone


def test_that_benchmarks_convention(made_run, faces, contrasts):
    predictor = RunPredictor.of(made_run, ("float",), contrasts())
    found = evaluate_variants(predictor, faces[0], convention="deepfakebench", images=faces[1])
    assert found["convention"] == "deepfakebench" and found["form"] == "float" and "ece" not in found
    # the paths of drawn faces lie in one folder: one video of both classes, which has no AUC
    assert found["video_auc"] is None and found["video"] == {"n": 1}


@pytest.fixture(scope="module")
def files(faces, tmp_path_factory):
    """The drawn faces as files, in real/ and fake/, a folder a video."""
    folder = tmp_path_factory.mktemp("faces")
    for index, sample in enumerate(faces[0]):
        video = folder / ("real", "fake")[sample.label] / sample.video
        video.mkdir(parents=True, exist_ok=True)
        faces[1](sample).save(video / f"{index:03d}.png")
    return folder


def test_from_files(found, files, made_run, contrasts):
    predictor = RunPredictor.of(made_run, ("float", "quantized"), contrasts())
    both = evaluate_variants(predictor, files, workers=0)
    for variant in ("float", "quantized"):
        for key in ("auc", "eer", "ap", "ece", "video_auc", "accuracy"):
            assert both["forms"][variant][key] == pytest.approx(found[0]["forms"][variant][key]), key


def test_a_broken_image_stops_it_and_leaves_no_scores(files, faces, made_run, tmp_path):
    rows = ["path,label", f"{next(files.rglob('*.png'))},1", f"{tmp_path / 'no.png'},0"]
    (tmp_path / "no.png").write_text("no image")
    (tmp_path / "it.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match="no.png cannot be read as an image"):
        evaluate_variants(
            RunPredictor.of(made_run, ("mixed",)), tmp_path / "it.csv", scores=tmp_path / "scores"
        )
    assert not list((tmp_path / "scores").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variants": ("best",)}, "variant 'best': choose quantized, mixed or float"),
        ({"variants": ()}, "choose quantized, mixed or float"),
        ({"variants": ("float",)}, "give float_model="),
        ({"convention": "mine"}, "convention='mine' is not known"),
    ],
)
def test_bad_calls(made_run, faces, options, message):
    with pytest.raises(UserError, match=message):
        predictor = RunPredictor.of(made_run, options.pop("variants", ("mixed",)))
        evaluate_variants(predictor, faces[0], images=faces[1], **options)


def test_one_class_is_refused_before_anything_is_read(made_run, faces):
    def read(sample):
        raise AssertionError

    with pytest.raises(UserError, match="only the label 0"):
        predictor = RunPredictor.of(made_run, ("mixed",))
        evaluate_variants(predictor, [s for s in faces[0] if s.label == 0], images=read)


def test_scores_that_are_no_numbers_are_refused(made_run, faces, contrasts):
    broken = contrasts()
    torch.nn.init.constant_(broken.head.bias, float("nan"))
    with pytest.raises(UserError, match="48 of 48 scores are not finite"):
        evaluate_variants(RunPredictor.of(made_run, ("float",), broken), faces[0], images=faces[1])


def test_a_run_of_tensors_needs_a_set_of_tensors(made_run, faces):
    run = type(made_run)(**{**vars(made_run), "preprocessing": None})
    with pytest.raises(UserError, match="give a LabelledSet"):
        evaluate_variants(RunPredictor.of(run, ("mixed",)), faces[0])
    images = torch.stack([preprocess(faces[1](sample), made_run.preprocessing) for sample in faces[0]])
    data = LabelledSet.from_tensors(images, [sample.label for sample in faces[0]])
    assert (
        evaluate(run, data, variant="mixed")["auc"]
        == evaluate_variants(RunPredictor.of(made_run, ("mixed",)), faces[0], images=faces[1])["auc"]
    )
    assert isinstance(faces[1](faces[0][0]), Image.Image)
