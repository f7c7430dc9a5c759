"""Forms of a detector side by side, against figures worked by hand and by scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from brevitas_defakeq import UserError
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.evaluate.columns import Columns
from brevitas_defakeq.evaluate.compare import compare
from brevitas_defakeq.evaluate.fidelity import FeatureNoise
from brevitas_defakeq.evaluate.observe import Observed, Observer, observe_all
from brevitas_defakeq.run_report import carried_threshold

SCORES = {
    "float": Observed(np.array([-2.0, -1.0, 0.5, 3.0]), FeatureNoise(9.0, 0.0)),
    "quantized": Observed(np.array([-1.0, 0.2, 0.1, 2.0]), FeatureNoise(9.0, 0.09)),
}


def test_fidelity_by_hand():
    figures = compare(SCORES, {"quantized": 0.15}, None)
    assert set(figures) == {"float", "quantized"} and set(figures["quantized"]) == {"fidelity"}
    fidelity = figures["quantized"]["fidelity"]
    # verdicts: float 0 0 1 1 at 0; quantized 0 1 0 1 at 0.15
    assert fidelity["verdict_agreement"] == 0.5
    # ranks 0 1 2 3 against 0 2 1 3: 1 - 6 * 2 / (4 * 15)
    assert fidelity["rank_correlation"] == pytest.approx(0.8)
    assert fidelity["feature_snr_db"] == pytest.approx(10 * math.log10(9 / 0.09))
    assert figures["float"]["fidelity"]["verdict_agreement"] == 1.0
    assert figures["float"]["fidelity"]["rank_correlation"] == pytest.approx(1.0)


def test_a_missing_threshold_is_zero():
    assert compare(SCORES, {}, None)["quantized"]["fidelity"]["verdict_agreement"] == 0.75


def test_labels_add_auc_and_accuracy(as_samples):
    figures = compare(SCORES, {"quantized": 0.15}, Columns.of(as_samples([0, 0, 1, 1])))
    assert figures["float"]["auc"] == 1.0 and figures["float"]["accuracy"] == 1.0
    # fakes at 0.1 and 2.0, reals at -1.0 and 0.2: three of four pairs in order
    assert figures["quantized"]["auc"] == 0.75 and figures["quantized"]["accuracy"] == 0.5
    assert figures["quantized"]["n"] == 4 and "fidelity" in figures["quantized"]
    assert figures["quantized"]["drop"]["auc"] == 0.25


def test_without_float_there_is_nothing_to_be_close_to(as_samples):
    only = {"quantized": SCORES["quantized"]}
    figures = compare(only, {}, Columns.of(as_samples([0, 0, 1, 1])), no_face=2)
    assert not {"fidelity", "drop"} & set(figures["quantized"]) and figures["quantized"]["no_face"] == 2


def test_videos_of_one_name_in_two_data_sets_are_two(as_samples):
    labels, videos = [0, 0, 1, 1, 0, 1], ["a", "a", "b", "b", "a", "b"]
    datasets = ["one"] * 4 + ["two"] * 2
    scores = np.array([0.0, 4.0, 1.0, 2.5, 3.0, 1.7])
    found = compare({"it": Observed(scores)}, {}, Columns.of(as_samples(labels, videos, datasets)))["it"]
    # means: one/a 2.0, one/b 1.75, two/a 3.0, two/b 1.7; no fake video above a real one
    assert found["video_auc"] == 0.0
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert found["per_dataset"]["two"]["auc"] == 0.0 and found["per_dataset"]["one"]["n"] == 4


# ------------------------------------------------------------------------------------------ thresholds


def observed(scores):
    return Observed(np.asarray(scores, float))


def test_the_threshold_keeps_the_rate_of_the_real_images():
    labels = torch.tensor([0, 1, 0, 1, 0, 0])
    first = observed([-3.0, 9.0, -1.0, 9.0, 1.0, 2.0])  # two of four real ones lie above 0
    second = observed([1.0, -5.0, 2.0, -5.0, 3.0, 4.0])
    threshold = carried_threshold(first, second, labels)
    assert 2.0 <= threshold < 3.0 and (second.scores[[0, 2, 4, 5]] > threshold).sum() == 2


def test_without_real_images_all_images_count():
    first, second = observed([-1.0, -2.0, 3.0]), observed([10.0, 0.0, 20.0])
    for labels in (None, torch.ones(3)):
        assert 10.0 <= carried_threshold(first, second, labels) < 20.0


# ------------------------------------------------------------------------------------------ observing


def test_observing_reads_logit_and_feature_of_every_model():
    torch.manual_seed(0)
    models = {
        name: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        for name in ("float", "quantized")
    }
    images = torch.randn(11, 3, 6, 6)
    read, found = [], {}

    def batches():
        for part in images.split(4):
            read.append(len(part))
            yield part

    for key, (path, side) in {"head": ("3", "input"), "map": ("0", "output")}.items():
        read.clear()
        found[key] = observe_all(models, Observer(OutputSpec(fake_index=0), path, side), batches())
        assert read == [4, 4, 3], "each batch is read once"
    with torch.no_grad():
        features = {key: {} for key in found}
        for name, model in models.items():
            raw = model(images)
            features["head"][name] = model[:3](images)
            features["map"][name] = model[0](images).mean(dim=(2, 3))
            torch.testing.assert_close(
                torch.tensor(found["head"][name].scores), raw[:, 0] - raw[:, 1], atol=1e-5, rtol=1e-4
            )
    for key, (_, noise) in ((key, found[key].values()) for key in found):
        reference, other = features[key]["float"], features[key]["quantized"]
        assert noise.noise.signal == pytest.approx(float(reference.square().sum()), rel=1e-4)
        assert noise.noise.noise == pytest.approx(float((reference - other).square().sum()), rel=1e-4)
        assert found[key]["float"].noise.noise == 0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in models["float"].modules())


def test_an_unreached_feature_is_refused():
    model = nn.Sequential(nn.Linear(3, 1))
    model.add_module("spare", nn.Identity())
    model.forward = lambda images: model[0](images)
    with pytest.raises(UserError, match="'spare' was not reached"):
        Observer(OutputSpec(), "spare", "output")(model, torch.zeros(2, 3))
