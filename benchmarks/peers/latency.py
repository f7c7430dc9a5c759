"""Latency of many files in one process, one image, one thread, the files taking turns.

Run by the Python of an environment that has OpenVINO, ``python -m benchmarks.peers.latency REQUEST OUT``;
without OpenVINO only onnxruntime is timed. ``REQUEST`` is JSON: ``files`` (name -> path of a .onnx or .xml),
``image`` (a .npy whose first image is run). Both runtimes compute in float32 what is not quantized.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.exchange import INPUT, refusal
from brevitas_defakeq.runtime.onnx_file import open_session
from brevitas_defakeq.utils.errors import UserError

_RUNS, _WARMUP = 100, 10
Run = Callable[[], Any]


def with_onnxruntime(file: Path, image: np.ndarray) -> Run:
    session = open_session(file, threads=1, side_by_side=True)
    return lambda: session.run(None, {INPUT: image})


def with_openvino(file: Path, image: np.ndarray) -> Run:
    from openvino import Core

    settings = {
        "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"
    }  # fmt: skip
    compiled = Core().compile_model(str(file), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([image])


RUNTIMES = {"onnxruntime": with_onnxruntime, "openvino": with_openvino}


def interleaved(runs: dict[str, Run], *, count: int, warmup: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each: ``median_ms``, ``p10_ms``, ``p90_ms``; a slow moment affects all of them."""
    times = np.empty((warmup + count, len(runs)))
    for row in times:
        for index, run in enumerate(runs.values()):
            start = time.perf_counter()
            run()
            row[index] = 1000 * (time.perf_counter() - start)
    quantiles = np.quantile(times[warmup:], (0.5, 0.1, 0.9), axis=0)
    names = ("median_ms", "p10_ms", "p90_ms")
    return {
        name: dict(zip(names, quantiles[:, index].tolist(), strict=True)) for index, name in enumerate(runs)
    }


def latencies(files: dict[str, str], image: np.ndarray) -> dict[str, Any]:
    """``times``: "NAME, RUNTIME" -> `interleaved`; ``failed``: the same names -> why it was not timed.

    ``other_work``: cores that other processes kept busy meanwhile; None where that is not known.

    Args:
        image: [1, 3, H, W].
    """
    runs: dict[str, Run] = {}
    failed = {}
    for name, path in files.items():
        for runtime, load in RUNTIMES.items():
            if path.endswith(".xml") and runtime == "onnxruntime":
                continue
            try:
                run = load(Path(path), image)
                run()
            except UserError as error:
                failed[f"{name}, {runtime}"] = str(error)
            except Exception as error:  # the runtimes' errors share no base
                failed[f"{name}, {runtime}"] = refusal(error)
            else:
                runs[f"{name}, {runtime}"] = run
    busy, start = seconds_of_others(), time.perf_counter()
    times = interleaved(runs, count=_RUNS, warmup=_WARMUP)
    share = (seconds_of_others() - busy) / (time.perf_counter() - start)
    return {
        "threads": 1,
        "runs": _RUNS,
        "other_work": round(share, 2) if np.isfinite(share) else None,
        "times": times,
        "failed": failed,
    }


def seconds_of_others() -> float:
    """Processor seconds of all other processes since the machine started; not a number outside Linux."""
    statistics = Path("/proc/stat")
    if not statistics.exists():
        return float("nan")
    user, nice, system, _, _, *interrupts = map(int, statistics.read_text().splitlines()[0].split()[1:9])
    busy = user + nice + system + sum(interrupts)
    return busy / os.sysconf("SC_CLK_TCK") - time.process_time()


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    found = latencies(request["files"], np.load(request["image"], mmap_mode="r")[:1].copy())
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
