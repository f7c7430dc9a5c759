"""DeepfakeBench's choices against the numbers that its own code gave, and ours where they differ."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.conventions import CONVENTIONS, DEFAULT_METRICS, softmax
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.summary import summaries
from brevitas_defakeq.utils.errors import UserError

GIVEN = json.loads((Path(__file__).parents[1] / "data_files" / "deepfakebench_metrics.json").read_text())


def logit(shares):
    shares = np.asarray(shares)
    return np.log(shares) - np.log1p(-shares)


def metrics(samples, shares, dataset_convention="deepfakebench"):
    scores = {"it": logit(shares)}
    return summaries(FrameTable.from_samples(samples), scores, {"it": 3.0}, convention=dataset_convention)[
        "it"
    ]


def check(found, expected):
    names = {"acc": "accuracy", "auc": "auc", "eer": "eer", "ap": "ap", "video_auc": "video_auc"}
    for theirs, ours in names.items():
        assert found[ours] == pytest.approx(expected[theirs], abs=1e-12), theirs


@pytest.mark.parametrize("name", GIVEN["datasets"])
def test_metrics_of_the_example_trees(name):
    given, samples, shares = GIVEN["datasets"][name], [], []
    for label, folder, frames in given["videos"]:
        for frame in frames:
            path = f"{GIVEN['root']}{folder}/{frame}"
            samples.append(Sample(Path(path), label, folder, name))
            shares.append(np.random.default_rng(zlib.crc32(path.encode())).random())
    found = metrics(samples, shares)
    check(found, given["metrics"])
    assert found["video"]["n"] == given["groups"] and found["convention"] == "deepfakebench"
    check(found["per_dataset"][name], given["metrics"])


def test_metrics_of_the_larger_reference():
    generator = np.random.default_rng(5)
    fake = generator.random(40) < 0.6
    videos = generator.integers(0, 40, 600)
    labels = fake[videos].astype(int)
    shares = 0.06 * labels + 0.94 * generator.random(600)
    assert (labels == 0).sum() == GIVEN["larger"]["real"]
    samples = [
        Sample(Path(f"frames/{video}/{index}.png"), int(label), str(video), "set")
        for index, (video, label) in enumerate(zip(videos, labels, strict=True))
    ]
    check(metrics(samples, shares), GIVEN["larger"]["result"])


def test_forgeries_of_one_pair_are_one_video_there_and_four_here():
    rows = [(0, "youtube/953"), (0, "youtube/974")]
    rows += [(1, f"{method}/953_974") for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")]
    samples = [Sample(Path(f"{folder}/{n}.png"), y, folder, "FF++") for y, folder in rows for n in range(3)]
    shares = np.random.default_rng(0).random(len(samples))
    assert metrics(samples, shares)["video"]["n"] == 3
    assert metrics(samples, shares, "default")["video"]["n"] == 6


def test_folders_of_both_classes_that_share_a_name_are_real():
    rows = [(0, "real/7", 0.1), (1, "fake/7", 0.9), (0, "real/8", 0.2), (1, "fake/9", 0.15)]
    samples = [Sample(Path(f"{folder}/0.png"), label, folder, "x") for label, folder, _ in rows]
    found = metrics(samples, [share for *_, share in rows])
    # videos: 7 at 0.5 (real), 8 at 0.2 (real), 9 at 0.15 (fake)
    assert found["video_auc"] == 0.0 and found["video"]["n"] == 3
    assert metrics(samples, [share for *_, share in rows], "default")["video_auc"] == 0.75
    only = metrics(samples[:3], [share for *_, share in rows[:3]])
    assert only["video_auc"] is None and only["video"] == {"n": 2} and only["auc"] == 1.0


def test_single_precision_ties_count():
    samples = [Sample(Path(f"{n}/0.png"), n % 2, str(n), "x") for n in range(4)]
    scores = {"it": np.array([40.0, 50.0, -1.0, 60.0])}  # three whose softmax is exactly 1
    ours = summaries(FrameTable.from_samples(samples), scores, {})["it"]
    theirs = summaries(FrameTable.from_samples(samples), scores, {}, convention="deepfakebench")["it"]
    assert ours["auc"] == 1.0 and theirs["auc"] == 0.75 and theirs["distinct_scores"] == 2
    assert any("75.0 % of the scores tie" in note for note in theirs["notes"])


def test_softmax_is_torchs():
    torch = pytest.importorskip("torch")
    margins = np.random.default_rng(1).normal(size=2000).astype(np.float32) * 8
    both = torch.stack([torch.zeros(2000), torch.tensor(margins)], dim=1)
    expected = torch.softmax(both, dim=1)[:, 1].numpy()
    np.testing.assert_allclose(softmax(margins), expected, rtol=3e-7, atol=1e-37)
    assert softmax(margins).dtype == np.float32


def test_eer_is_the_rate_at_a_point_of_the_thinned_curve(scored):
    labels, logits = scored(300)
    samples = [Sample(Path(f"{n}/0.png"), int(y), str(n), "x") for n, y in enumerate(labels)]
    shares = softmax(logits)
    found = summaries(FrameTable.from_samples(samples), {"it": logits}, {}, convention="deepfakebench")["it"]
    false_positive, true_positive, _ = reference.roc_curve(labels, shares)
    assert found["eer"] == false_positive[np.argmin(abs(1 - true_positive - false_positive))]
    assert found["accuracy"] == np.mean((shares > 0.5) == labels), "never at the run's threshold"


def test_a_metric_gives_a_number_for_json(scored, monkeypatch):
    labels, logits = scored(20)
    monkeypatch.setitem(DEFAULT_METRICS, "odd", lambda it: np.float32(it.threshold))
    assert type(CONVENTIONS["default"].compute(labels, logits, 0.5)["odd"]) is float
    monkeypatch.setitem(DEFAULT_METRICS, "odd", lambda it: it.scores)
    with pytest.raises(UserError, match="metric 'odd' gave ndarray; return a number"):
        CONVENTIONS["default"].compute(labels, logits, 0.5)


def test_a_metric_of_ones_own_is_one_entry(scored, monkeypatch):
    """Youden's J, the largest distance of the curve from the diagonal: in the results and in the table."""
    from rich.console import Console

    from brevitas_defakeq.report.evaluation_report import evaluation_tables

    def youden(it):
        return float(np.max(it.curve.true_positive_rate - it.curve.false_positive_rate))

    monkeypatch.setitem(DEFAULT_METRICS, "youden", youden)
    labels, logits = scored(300)
    samples = [Sample(Path(f"{n // 2}/{n}.png"), int(y), str(n // 2), "x") for n, y in enumerate(labels)]
    found = summaries(FrameTable.from_samples(samples), {"mixed": logits}, {})
    false_positive, true_positive, _ = reference.roc_curve(labels, logits)
    assert found["mixed"]["youden"] == pytest.approx(max(true_positive - false_positive))
    assert {"youden"} <= set(found["mixed"]["video"]) & set(found["mixed"]["per_dataset"]["x"])
    console = Console(record=True, width=160)
    console.print(*evaluation_tables({**found["mixed"], "form": "mixed", "forms": found}))
    text = console.export_text()
    assert "youden" in text and f"{found['mixed']['youden']:.3f}" in text
