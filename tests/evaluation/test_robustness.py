"""Curves against a loop written out: read, perturb, preprocess, score, scikit-learn's AUC."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from brevitas_defakeq.data.image_batches import preprocess
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.paired_auc import auc_estimates, mean_estimates
from brevitas_defakeq.evaluation.perturb.perturbations import PERTURBATIONS, perturbed
from brevitas_defakeq.evaluation.predictors import RunPredictor
from brevitas_defakeq.evaluation.robustness import point_metrics, robustness
from brevitas_defakeq.utils.errors import UserError

NAMES, LEVELS = ("noise", "jpeg"), (1, 4)


@pytest.fixture(scope="module")
def found(made_run, faces, contrasts):
    progress = []
    result = robustness(
        RunPredictor.of(made_run, ("float", "quantized"), contrasts()), faces[0], NAMES, LEVELS,
        images=faces[1], seed=7,
        on_progress=lambda *news: progress.append(news),
    )  # fmt: skip
    return result, progress


def logits(model, faces, how, name=None, level=None):
    samples, read = faces
    read = read if name is None else perturbed(read, name, level, 7)
    with torch.no_grad():
        return model(torch.stack([preprocess(read(each), how) for each in samples])).reshape(-1).numpy()


def test_every_point_by_hand(found, made_run, faces, contrasts):
    result, _ = found
    how, labels = made_run.preprocessing, [sample.label for sample in faces[0]]
    models = {"float": contrasts(), "quantized": made_run.quantized}
    clean = {variant: roc_auc_score(labels, logits(model, faces, how)) for variant, model in models.items()}
    assert {variant: own["auc"] for variant, own in result["clean"].items()} == pytest.approx(clean)
    assert result["n"] == 48 and result["levels"] == [1, 4] and result["seed"] == 7
    assert list(result["perturbations"]) == list(NAMES)
    for name in NAMES:
        curve = result["perturbations"][name]
        assert (curve["code"], curve["meaning"]) == (PERTURBATIONS[name].code, PERTURBATIONS[name].meaning)
        every = {variant: [] for variant in models}
        for point, level in zip(curve["points"], LEVELS, strict=True):
            assert (point["level"], point["value"]) == (level, PERTURBATIONS[name].values[level - 1])
            for variant, model in models.items():
                own = point["forms"][variant]
                every[variant].append(roc_auc_score(labels, logits(model, faces, how, name, level)))
                assert own["auc"] == pytest.approx(every[variant][-1])
                assert own["loss"]["auc"] == pytest.approx(clean[variant] - every[variant][-1])
            drop = every["float"][-1] - every["quantized"][-1]
            quantized = point["forms"]["quantized"]
            assert quantized["drop"]["auc"] == pytest.approx(drop)
            extra = drop - (clean["float"] - clean["quantized"])
            assert quantized["extra_drop"]["auc"] == pytest.approx(extra)
            assert "drop" not in point["forms"]["float"]
        for variant in models:
            assert curve["mean"][variant]["auc"] == pytest.approx(np.mean(every[variant]))
    means = [result["perturbations"][name]["mean"]["quantized"] for name in NAMES]
    for key in ("drop", "extra_drop", "loss"):
        over = np.mean([mean[key]["auc"] for mean in means])
        assert result["mean"]["quantized"][key]["auc"] == pytest.approx(over, abs=1e-12)


def test_progress_counts_the_passes(found):
    assert found[1] == [("perturb", done, 5) for done in (0, 1, 2, 3, 4, 5)]


def test_intervals_are_those_of_the_paired_draws(as_samples, scored):
    """A variant that is float plus a constant loses nothing, however much the perturbation costs."""
    labels, scores = scored(80)
    frames = FrameTable.from_samples(as_samples(list(labels), [str(n // 2) for n in range(80)]))
    noise = np.random.default_rng(0).normal(size=80)

    def estimates(scores):
        return auc_estimates(frames.labels, scores, groups=frames.videos)

    clean = estimates({"float": scores, "quantized": scores + 0.3 * noise})
    worse = estimates({"float": scores + 2 * noise, "quantized": scores + 2 * noise + 1})
    found = point_metrics(worse, clean)["quantized"]
    assert found["drop"] == {"auc": 0.0, "auc_interval": [0.0, 0.0]}
    before = point_metrics(clean)["quantized"]["drop"]
    assert found["extra_drop"]["auc"] == -before["auc"]
    assert found["extra_drop"]["auc_interval"] == pytest.approx(
        [-before["auc_interval"][1], -before["auc_interval"][0]]
    )
    assert point_metrics(mean_estimates([clean, clean])) == point_metrics(clean)
    assert set(point_metrics(clean)["float"]) == {"auc", "auc_interval"}


def test_notes_say_what_was_perturbed(found, made_run, faces, contrasts):
    assert len(found[0]["notes"]) == 1 and "as given, before preprocessing" in found[0]["notes"][0]
    samples, read = faces
    large = {sample.path: sample.label for sample in samples[:10]}

    def mixed_sizes(sample):
        return read(sample).resize((256, 256)) if sample.path in large else read(sample)

    predictor = RunPredictor.of(made_run, ("quantized",))
    result = robustness(predictor, samples, "blocks", [1], images=mixed_sizes)
    assert result["notes"][1] == "blocks leaves 38 of 48 images as they are: smaller than 256 pixels"
    assert set(result["clean"]["quantized"]) == {"auc", "auc_interval"}


def test_reversed_labels_are_noted(made_run, faces, contrasts):
    """The images that the detector scores lowest are labelled fake."""
    scores = logits(contrasts(), faces, made_run.preprocessing)
    low = scores < np.median(scores)
    samples = [replace(each, label=int(fake)) for each, fake in zip(faces[0], low, strict=True)]
    predictor = RunPredictor.of(made_run, ("float", "quantized"), contrasts())
    result = robustness(predictor, samples, "noise", [1], images=faces[1])
    said = sorted(result["notes"][1:])
    assert said[0].startswith("float: AUC below 0.5 on all data (0.000): labels or class order look reversed")
    assert len(said) == 2 and said[1].startswith("quantized: AUC below 0.5")


def test_bad_calls(made_run, faces):
    predictor = RunPredictor.of(made_run, ("mixed",))
    with pytest.raises(UserError, match="perturbation 'fog' is not known"):
        robustness(predictor, faces[0], "fog")
    with pytest.raises(UserError, match=r"levels=\[9\]"):
        robustness(predictor, faces[0], levels=[9])
    with pytest.raises(UserError, match="only the label 1"):
        robustness(predictor, [s for s in faces[0] if s.label])


def test_drawn_faces_are_samples(faces):
    samples, read = faces
    assert [sample.label for sample in samples] == [0, 1] * 24
    assert all((sample.manipulation != "") == bool(sample.label) for sample in samples)
    assert len({sample.path for sample in samples}) == 48 and len({sample.video for sample in samples}) == 24
    image = read(samples[5])
    assert isinstance(image, Image.Image) and image.size == (64, 64)
