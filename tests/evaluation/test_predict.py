"""Outputs of torch models: what is read of each, how often, and what of it is kept."""

import numpy as np
import pytest
import torch
from torch import nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.evaluation.predict import (
    BatchOutput,
    collect,
    model_outputs,
    observe_all,
    with_progress,
)


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


def test_models_are_run_in_evaluation_mode_and_keep_their_own():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 1))
    images, observer = torch.randn(4, 3, 2, 2), Observer(OutputSpec(), "2", "input")
    (first,) = model_outputs({"it": model}, observer, [images])
    assert model.training and model[1].training
    with torch.no_grad():
        expected = model.eval()(images)[:, 0]
    np.testing.assert_allclose(first["it"].logits, expected, atol=1e-6)


def test_progress_and_scores_batch_by_batch():
    batches = [{"exported": BatchOutput(np.zeros(3))}, {"exported": BatchOutput(np.ones(2))}]
    progress = []
    found = collect(with_progress(batches, 5, lambda *news: progress.append(news)))
    assert progress == [("score", 3, 5), ("score", 5, 5)]
    assert found["exported"].scores.tolist() == [0, 0, 0, 1, 1] and found["exported"].noise is None
