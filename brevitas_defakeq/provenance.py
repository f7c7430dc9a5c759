"""Origin of a result: versions, commit, seed and threads."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("brevitas-defakeq", "brevitas", "torch", "timm", "numpy")


def provenance(seed: int) -> dict[str, object]:
    """Seed, versions of the packages that compute, threads, and the commit of a source checkout.

    The integers of a run depend on the seed and the number of threads: sums over images and positions are
    split among the threads, and float addition depends on the order.
    """
    import torch

    return {
        "seed": seed,
        "versions": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
