"""The memory that a model needs, measured in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from brevitas_defakeq.runtime.onnx_file import onnxruntime, open_session
from brevitas_defakeq.runtime.random_inputs import random_inputs

_PROGRAM = "from brevitas_defakeq.runtime.peak_memory import print_peak_memory; print_peak_memory()"


def peak_memory_bytes(path: Path, threads: int | None = None) -> int | None:
    """Bytes by which loading a file and running it once raise a fresh process's peak resident memory.

    The interpreter, numpy and onnxruntime are not counted. None where the system does not tell (Windows).
    """
    package_folder = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path), str(threads or 0)],
        env={**os.environ, "PYTHONPATH": search}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    answer = run.stdout.split()[-1]
    return None if answer == "None" else int(answer)


def print_peak_memory() -> None:
    """Main function of the fresh process: file and threads are its arguments, it prints the bytes."""
    path, threads = Path(sys.argv[1]), int(sys.argv[2]) or None
    onnxruntime()
    before = process_peak_bytes()
    session = open_session(path, threads)
    session.run(None, random_inputs(session, path))
    after = process_peak_bytes()
    sys.stdout.write(f"{None if before is None or after is None else after - before}\n")


def process_peak_bytes() -> int | None:
    """The peak resident memory of this process so far, in bytes.

    Not from `getrusage` on Linux: there a child starts with its parent's peak, and a parent that loaded torch
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
