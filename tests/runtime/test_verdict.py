import subprocess
import sys
from math import exp
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brevitas_defakeq.runtime import ExportedDetector, UserError, Verdict, predict

ROOT = Path(__file__).resolve().parents[2]


def test_verdict_by_hand(exported, noise, by_hand):
    (verdict,) = predict(exported(), noise(), threads=1)
    assert verdict.logit == pytest.approx(by_hand(noise()), abs=1e-5)
    assert verdict.fake_probability == pytest.approx(1 / (1 + exp(-verdict.logit)))
    assert verdict.is_fake is (verdict.logit > 0)


def test_many_images_in_order_and_in_batches(exported, noise, by_hand, tmp_path):
    pixels = [noise(seed=seed) for seed in range(5)]
    Image.fromarray(pixels[0]).save(tmp_path / "face.png")
    images = [tmp_path / "face.png", Image.fromarray(pixels[1]), *pixels[2:]]
    detector = ExportedDetector(exported())
    for batch_size in (1, 2, 8):
        logits = [verdict.logit for verdict in predict(detector, images, batch_size=batch_size)]
        np.testing.assert_allclose(logits, [by_hand(one) for one in pixels], atol=1e-5)
    assert predict(detector, []) == []


def test_preprocessing_inside_the_graph_takes_any_size(exported, noise):
    weight = np.float32([[0.02, -0.01, 0.01]])
    raw = {"dtype": "uint8", "layout": "NHWC", "shape": ["N", "H", "W", 3]}
    model = exported(**raw, weight=weight, last="Sigmoid", card={"output__kind": "probability"})
    images = [noise(9, 7), noise(9, 7, seed=1), noise(5, 8)]
    verdicts = predict(model, images, batch_size=2)
    for verdict, pixels in zip(verdicts, images, strict=True):
        means = pixels.mean(axis=(0, 1))
        assert verdict.logit == pytest.approx(weight[0] @ means + 0.25, abs=1e-4)


def test_class_scores(exported, noise):
    two = {"weight": np.zeros((2, 3), np.float32), "bias": np.float32([1.5, 0.5])}
    verdict = predict(exported(card={"output__kind": "softmax"}, **two), noise())[0]
    assert verdict.logit == pytest.approx(-1) and not verdict.is_fake
    verdict = predict(exported(card={"output__kind": "softmax", "output__fake_index": 0}, **two), noise())[0]
    assert verdict.logit == pytest.approx(1) and verdict.is_fake


@pytest.mark.parametrize(("threshold", "is_fake"), [(-1.0, True), (0.25, False), (1.0, False)])
def test_threshold_of_the_card(exported, noise, threshold, is_fake):
    model = exported(weight=np.zeros((1, 3), np.float32), card={"threshold": threshold})
    assert predict(model, noise()) == [Verdict(pytest.approx(1 / (1 + exp(-0.25))), 0.25, is_fake)]


def test_huge_logits_do_not_overflow(exported, noise):
    for bias, probability in ((-1e4, 0.0), (1e4, 1.0)):
        model = exported(weight=np.zeros((1, 3), np.float32), bias=np.float32([bias]))
        assert predict(model, noise())[0].fake_probability == probability


def test_bad_calls(exported, noise, tmp_path):
    detector = ExportedDetector(exported())
    with pytest.raises(UserError, match="batch_size=0"):
        predict(detector, noise(), batch_size=0)
    with pytest.raises(UserError, match="give it to ExportedDetector"):
        predict(detector, noise(), threads=1)
    with pytest.raises(UserError, match="missing.png cannot be read"):
        predict(detector, [noise(), tmp_path / "missing.png"])


def test_predicts_without_torch(exported, noise, tmp_path):
    """In a fresh interpreter: this one has long imported torch."""
    model = exported()
    Image.fromarray(noise()).save(tmp_path / "face.png")
    code = (
        "import sys; from brevitas_defakeq.runtime import predict; "
        f"predict({str(model)!r}, {str(tmp_path / 'face.png')!r}); "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "brevitas", "scipy", "sklearn", "onnx"}


def test_import_leaves_onnxruntime_alone():
    """A card is read and written where onnxruntime is not installed."""
    code = "import sys; from brevitas_defakeq.runtime import Card; print('onnxruntime' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
