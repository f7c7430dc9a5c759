"""Exported files by metrics: a graph whose logit is worked out by hand, alone and against a float one."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save
from sklearn.metrics import roc_auc_score

from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.evaluation.evaluate_run import evaluate, evaluate_variants
from brevitas_defakeq.evaluation.perturb.perturbations import perturbed
from brevitas_defakeq.evaluation.predictors import FilePredictor
from brevitas_defakeq.evaluation.robustness import robustness
from brevitas_defakeq.evaluation.score_file import read_scores
from brevitas_defakeq.imaging.preprocessing import preprocess_array
from brevitas_defakeq.runtime.card import CARD_NAME, Card, CardInput, CardOutput
from brevitas_defakeq.utils.errors import UserError

SIZE = (24, 24)
WEIGHTS = {"float": np.float32([[3.0, -1.0, -2.0]]), "small": np.float32([[3.0, -1.0, -1.5]])}


def save_model(folder, weight, threshold):
    """Channel means times ``weight`` is the logit; the card beside it."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], keepdims=0, axes=[2, 3]),
        helper.make_node("Gemm", ["means", "weight"], ["verdict"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, *SIZE])],
        [helper.make_tensor_value_info("verdict", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(weight, "weight")],
    )  # fmt: skip
    folder.mkdir()
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        folder / "model.onnx",
    )
    how = CardInput(
        size=SIZE, layout="NCHW", dtype="float32", mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear",
        fit="stretch", crop=None, crop_margin=None,
    )  # fmt: skip
    output = CardOutput(kind="logit", fake_index=1)
    Card(name="tiny", input=how, output=output, threshold=threshold, runtime="1.16").write(folder / CARD_NAME)
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: save_model(folder / name, weight, 0.1) for name, weight in WEIGHTS.items()}


def by_hand(name, model, faces, read=None):
    how = Card.read(model.parent / CARD_NAME).input.preprocessing
    means = [preprocess_array((read or faces[1])(sample), how).mean(axis=(1, 2)) for sample in faces[0]]
    return np.array(means) @ WEIGHTS[name][0]


def test_alone_and_against_float(models, faces, tmp_path):
    labels = np.array([sample.label for sample in faces[0]])
    predictor = FilePredictor.of(models["small"], models["float"], threads=1)
    both = evaluate_variants(predictor, faces[0], scores=tmp_path, images=faces[1])
    assert both["form"] == "exported" and list(both["forms"]) == ["exported", "float"]
    for variant, name in (("exported", "small"), ("float", "float")):
        logits = by_hand(name, models[name], faces)
        np.testing.assert_allclose(read_scores(tmp_path / f"{variant}.csv").logits, logits, atol=1e-5)
        assert both["forms"][variant]["auc"] == pytest.approx(roc_auc_score(labels, logits))
        assert both["forms"][variant]["accuracy"] == np.mean((logits > 0.1) == labels)
    drop = both["forms"]["float"]["auc"] - both["auc"]
    assert both["drop"]["auc"] == pytest.approx(drop)
    assert both["fidelity"]["rank_correlation"] > 0.5 and both["fidelity"]["feature_snr_db"] is None
    reference, logits = (by_hand(name, models[name], faces) for name in ("float", "small"))
    flips = both["fidelity"]["flips"]
    assert flips["threshold"] == 0.1, "that of the float file's card"
    assert flips["count"] == np.sum((logits > 0.1) != (reference > 0.1)) > 0 and flips["n"] == 48
    changes = np.abs(1 / (1 + np.exp(-logits)) - 1 / (1 + np.exp(-reference)))
    assert both["fidelity"]["largest_probability_change"] == pytest.approx(changes.max(), abs=1e-5)
    alone = evaluate_variants(FilePredictor.of(models["small"], threads=1), faces[0], images=faces[1])
    assert alone["auc"] == both["auc"] and "drop" not in alone and "fidelity" not in alone


def test_evaluate_takes_files_and_folders(models, faces, tmp_path):
    for index, sample in enumerate(faces[0]):
        folder = tmp_path / ("real", "fake")[sample.label]
        folder.mkdir(exist_ok=True)
        faces[1](sample).save(folder / f"{index:02d}.png")
    found = evaluate(models["small"], tmp_path)
    labels, logits = [s.label for s in faces[0]], by_hand("small", models["small"], faces)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, logits)) and found["n"] == 48


def test_robustness_of_files(models, faces):
    predictor = FilePredictor.of(models["small"], models["float"])
    found = robustness(predictor, faces[0], "jpeg", [5], images=faces[1])
    labels = [sample.label for sample in faces[0]]
    (point,) = found["perturbations"]["jpeg"]["points"]
    for variant, name in (("exported", "small"), ("float", "float")):
        logits = by_hand(name, models[name], faces, perturbed(faces[1], "jpeg", 5, 0))
        assert point["forms"][variant]["auc"] == pytest.approx(roc_auc_score(labels, logits))
    assert "extra_drop" in point["forms"]["exported"]


def test_refusals(models, faces, tmp_path):
    predictor = FilePredictor.of(models["small"])
    with pytest.raises(UserError, match="only the label 1"):
        evaluate_variants(predictor, [s for s in faces[0] if s.label])
    with pytest.raises(UserError, match="convention='x' is not known"):
        evaluate_variants(predictor, faces[0], convention="x")
    with pytest.raises(UserError, match="does not exist"):
        evaluate(tmp_path / "model.onnx", faces[0])
    with pytest.raises(UserError, match="give a folder, a CSV or samples"):
        evaluate(models["small"], LabelledSet.from_tensors(torch.zeros(2, 3, *SIZE), [0, 1]))
