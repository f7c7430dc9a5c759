"""Estimate a detector on an FPGA: ``python examples/estimate_fpga.py``, a minute, with the extra ``fpga``.

It takes the profile of a finished design. Of your own run, ``defakeq export RUN --format finn`` writes one.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROFILE = ROOT / "hw" / "designs" / "chain" / "model.onnx"


def main(out: Path, *, board: str = "Pynq-Z1", fps: int = 500) -> None:
    """Fold the design for ``fps`` frames a second and print what each layer takes."""
    command = [
        sys.executable, str(ROOT / "hw" / "build.py"), str(PROFILE), "--target", "estimate", "--board", board,
        "--fps", str(fps), "--out", str(out), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout)
    for layer in report["layers"]:
        print(f"{layer['name']}: {layer['cycles']} cycles, {layer['lut']:.0f} LUT, {layer['dsp']:.0f} DSP")
    total = report["totals"]
    print(f"in all at least {total['lut']:.0f} LUT, {total['bram18']:.0f} BRAM18, {total['dsp']:.0f} DSP")


if __name__ == "__main__":
    main(Path("example-fpga"))
