"""1.8 million frames of 56,000 videos: exact metrics with intervals in minutes, below 1 GB, on one core."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys, time
import numpy as np
from brevitas_defakeq.evaluation.bootstrap import auc_interval
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.metrics import auc
from brevitas_defakeq.evaluation.summary import summaries
from brevitas_defakeq.runtime.peak_memory import process_peak_bytes

VIDEOS, FRAMES = 56_000, 32
FORGERIES = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


def rows():
    for video in range(VIDEOS):
        label = video % 2
        name = FORGERIES[video // 2 % 4] if label else ""
        for _ in range(FRAMES):
            yield label, f"set {video % 10 // 2}", name, f"video-{video:06d}", f"video-{video:06d}"


started = time.perf_counter()
frames = FrameTable.from_rows(rows())
listing = time.perf_counter() - started
generator = np.random.default_rng(0)
of_video = generator.normal(size=VIDEOS)[frames.videos] + 0.5 * frames.labels
scores = {
    variant: (of_video + generator.normal(size=len(frames))).astype(np.float32)
    for variant in ("float", "quantized")
}
started = time.perf_counter()
value = auc(frames.labels, scores["float"])
low, high = auc_interval(frames.labels, scores["float"], groups=frames.videos)
alone = time.perf_counter() - started
started = time.perf_counter()
found = summaries(frames, scores, {})
print(json.dumps({
    "listing": listing, "alone": alone, "all": time.perf_counter() - started, "peak": process_peak_bytes(),
    "auc": value, "interval": [low, high], "n": found["float"]["n"],
    "manipulations": sorted(found["quantized"]["per_dataset"]["set 0"]["per_manipulation"]),
}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_benchmark_on_one_core(pace):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(run.stdout)
    print(found)
    assert found["n"] == 1_792_000 and len(found["manipulations"]) == 4
    assert found["interval"][0] < found["auc"] < found["interval"][1]
    assert found["alone"] < 3000 * pace, "AUC and 1,000 draws of one variant"
    assert found["all"] < 12_000 * pace, (
        "two variants: overall, frames and videos, by data set and manipulation, paired"
    )
    assert found["peak"] < 1e9
