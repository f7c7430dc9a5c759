import numpy as np
import onnxruntime
import pytest

from brevitas_defakeq.runtime import Card, ExportedDetector, UserError


def test_logits_by_hand(exported):
    detector = ExportedDetector(exported(), threads=1)
    batch = np.zeros((2, 3, 6, 4), np.float32)
    batch[1] = np.float32([1, 2, 3])[:, None, None]
    np.testing.assert_allclose(detector.logits(batch), [0.25, 2 - 2 + 1.5 + 0.25])
    assert detector.logits(batch[:0]).shape == (0,)
    assert detector.card.name == "tiny"


def test_graph_that_takes_one_image_at_a_time(exported):
    detector = ExportedDetector(exported(shape=[1, 3, 6, 4]))
    batch = np.arange(3, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 6, 4), np.float32)
    np.testing.assert_allclose(detector.logits(batch), [0.25, 1.75, 3.25])


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 3, 6, 4), np.float64),
        np.zeros((3, 6, 4), np.float32),
        np.zeros((1, 6, 4, 3), np.float32),
        np.zeros((1, 3, 4, 6), np.float32),
    ],
)
def test_batch_that_does_not_fit(exported, batch):
    with pytest.raises(UserError, match="does not fit"):
        ExportedDetector(exported()).logits(batch)


def test_no_number_is_no_verdict(exported):
    detector = ExportedDetector(exported(bias=np.float32([np.nan])))
    with pytest.raises(UserError, match="gives no number for 2"):
        detector.logits(np.zeros((2, 3, 6, 4), np.float32))


def test_missing_model_and_missing_card(exported, tmp_path):
    with pytest.raises(UserError, match="nowhere.onnx does not exist"):
        ExportedDetector(tmp_path / "nowhere.onnx")
    model = exported()
    (tmp_path / "model_card.json").unlink()
    with pytest.raises(UserError, match="model_card.json is missing"):
        ExportedDetector(model)


@pytest.mark.parametrize("damage", [b"", b"no model", None])
def test_file_that_cannot_be_loaded(exported, damage):
    model = exported()
    model.write_bytes(model.read_bytes()[:150] if damage is None else damage)
    with pytest.raises(UserError, match="cannot load .*model.onnx") as refusal:
        ExportedDetector(model)
    assert "\n" not in str(refusal.value)


def test_onnxruntime_older_than_the_card_asks_for(exported):
    major, minor = map(int, onnxruntime.__version__.split(".")[:2])
    assert ExportedDetector(exported(card={"runtime": f"{major}.{minor}"}))
    with pytest.raises(
        UserError, match=rf"needs onnxruntime {major}.{minor + 1} .*--runtime {major}.{minor}"
    ):
        ExportedDetector(exported(card={"runtime": f"{major}.{minor + 1}"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"input__dtype": "uint8"},
        {"input__layout": "NHWC"},
        {"input__size": [4, 6]},
    ],
)
def test_card_of_another_model(exported, content, changes, tmp_path):
    model = exported()
    Card.from_json(content(**changes)).write(tmp_path / "model_card.json")
    with pytest.raises(UserError, match="not of one export"):
        ExportedDetector(model)


def test_fixed_batch_above_one_is_refused(exported):
    with pytest.raises(UserError, match="not of one export"):
        ExportedDetector(exported(shape=[2, 3, 6, 4]))


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_out_of_range(exported, threads):
    with pytest.raises(UserError, match="threads="):
        ExportedDetector(exported(), threads=threads)
