"""One virtual environment a tool: made once in the user's cache folder, found again by what it needs.

An environment sees the packages of the Python that makes it (torch is not installed twice), through a .pth
file that puts that folder last: what the tool pins to another version is installed and comes first.
"""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.suite.faces import cache_folder
from brevitas_defakeq.utils.errors import UserError

#: Tool -> what pip installs for it, at the versions that were measured.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "onnxruntime": (),
    "brevitas": ("onnxoptimizer==0.4.2", "accelerate==1.15.0"),  # it needs these and does not list them
    "nncf": ("nncf==3.4.0", "openvino==2026.4.1"),
    "aimet": ("aimet-onnx==2.42.0",),
    "torchao": ("torchao==0.18.0",),
    "coreai": ("coreai-opt==0.3.0",),
    "mnn": ("mnn==3.6.1",),
    "litert": ("litert-torch==0.10.0", "litert-quantizer==0.11.0"),
}
_COMPLETE = ".complete"
_INSTALL_SECONDS = 1800


def environment_folder(tool: str, base: Path | None = None) -> Path:
    """The environment's folder, named by its requirements, the Python version and the packages that it sees.

    Args:
        tool: a key of ``REQUIREMENTS``.
        base: folder of the packages that it sees; None: those of this Python.
    """
    seen = base or Path(sysconfig.get_path("purelib"))
    identity = "\n".join([*REQUIREMENTS[tool], sys.version.split()[0], str(seen)])
    return cache_folder() / f"peer-{tool}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def environment(tool: str) -> Path:
    """The Python of a tool's environment, which is made if it is not complete.

    A tool without requirements runs in this Python.

    Raises:
        UserError: pip cannot install the requirements; its own last line says why.
    """
    if not REQUIREMENTS[tool]:
        return Path(sys.executable)
    folder = environment_folder(tool)
    python = folder / "bin" / "python"
    if not (folder / _COMPLETE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder)
        own = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        (own / "base.pth").write_text(sysconfig.get_path("purelib") + "\n")
        _install(python, REQUIREMENTS[tool])
        (folder / _COMPLETE).touch()
    return python


def _install(python: Path, requirements: tuple[str, ...]) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-compile",
        *requirements,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"pip did not install {', '.join(requirements)} in {_INSTALL_SECONDS} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise UserError(f"cannot be installed: {said[-1].removeprefix('ERROR: ')}")
