import json

import numpy as np
import pytest

from brevitas_defakeq.runtime import UserError, latency
from brevitas_defakeq.runtime.peak_memory import peak_memory_bytes, process_peak_bytes

FIELDS = {"path", "median_ms", "p10_ms", "p90_ms", "ratio", "file_bytes", "peak_memory_bytes"}


def test_latency_of_two_files(graph, tmp_path):
    files = [graph(tmp_path / "float.onnx"), graph(tmp_path / "other.onnx", shape=[1, 3, 48, 48])]
    result = json.loads(json.dumps(latency(files, runs=9, warmup=1)))
    assert (result["threads"], result["runs"], result["warmup"]) == (1, 9, 1)
    assert result["onnxruntime"] and result["processor"]
    first, second = result["files"]
    for row, file in ((first, files[0]), (second, files[1])):
        assert set(row) == FIELDS
        assert 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
        assert row["path"] == str(file) and row["file_bytes"] == file.stat().st_size
        assert row["peak_memory_bytes"] > 0
    assert first["ratio"] == 1.0
    assert second["ratio"] == pytest.approx(second["median_ms"] / first["median_ms"])


def test_free_size_comes_from_the_card(graph, exported, tmp_path):
    alone = graph(tmp_path / "alone.onnx", shape=["N", 3, "H", "W"])
    with pytest.raises(UserError, match="free size"):
        latency([alone], runs=1, warmup=0)
    exported(dtype="uint8", layout="NHWC", shape=["N", "H", "W", 3])
    assert latency(tmp_path / "model.onnx", runs=1, warmup=0)["files"][0]["ratio"] == 1.0


def test_memory_counts_the_model_and_not_the_measuring_process(graph, tmp_path):
    """24 MB of weights show, although this process, with torch in it, is far larger than the measured one."""
    weight = np.zeros((2_000_000, 3), np.float32)
    big = graph(tmp_path / "big.onnx", weight=weight, bias=np.zeros(len(weight), np.float32))
    assert process_peak_bytes() > 200_000_000
    assert weight.nbytes <= peak_memory_bytes(big, 1) < 200_000_000


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"paths": []}, "paths is empty"),
        ({"paths": ["nowhere.onnx"]}, "nowhere.onnx does not exist"),
        ({"paths": ["nowhere.onnx"], "runs": 0}, "runs=0"),
        ({"paths": ["nowhere.onnx"], "warmup": -1}, "warmup=-1"),
        ({"paths": ["nowhere.onnx"], "threads": 0}, "threads=0"),
    ],
)
def test_bad_calls(arguments, reason):
    with pytest.raises(UserError, match=reason):
        latency(**arguments)
