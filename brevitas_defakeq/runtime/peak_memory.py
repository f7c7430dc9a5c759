"""The memory that a model takes, measured in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from brevitas_defakeq.runtime.onnx_file import onnxruntime, open_session
from brevitas_defakeq.runtime.random_inputs import random_inputs

_PROGRAM = "from brevitas_defakeq.runtime.peak_memory import measure; measure()"


def peak_memory_bytes(path: Path, threads: int | None = None) -> int | None:
    """By how much loading a file and running it once raises a fresh process's peak of resident memory.

    The interpreter, numpy and onnxruntime are not counted. None where the system does not say (Windows).
    """
    package_folder = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path), str(threads or 0)],
        env={**os.environ, "PYTHONPATH": search}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    answer = run.stdout.split()[-1]
    return None if answer == "None" else int(answer)


def measure() -> None:
    """What the fresh process does: the file and the threads are its arguments, the answer is its output."""
    path, threads = Path(sys.argv[1]), int(sys.argv[2]) or None
    onnxruntime()
    before = process_peak_bytes()
    session = open_session(path, threads)
    session.run(None, random_inputs(session, path))
    after = process_peak_bytes()
    sys.stdout.write(f"{None if before is None or after is None else after - before}\n")


def process_peak_bytes() -> int | None:
    """The highest resident memory of this process so far.

    On Linux not from `getrusage`: a child starts there with its parent's peak, and a parent with torch in it
    would hide every model.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere
