"""Other people's tools on the suite's detectors, calibration images and test images, one JSON a row.

    python -m benchmarks.peers [TOOL ...] --vehicle demo                               drawn faces
    python -m benchmarks.peers [TOOL ...] --vehicle mobilenetv2_035 --data DATA        photographs
    python -m benchmarks.peers [TOOL ...] --vehicle demo --latency                     then time all its files

A row that has its JSON is not made again; delete it to repeat it. A tool that refuses, or that cannot be
installed, has a row that says so. Each has an environment of its own, made once in the user's cache folder.
"""

import argparse
import functools
import hashlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.environments import REQUIREMENTS, environment
from benchmarks.peers.exchange import IMAGES, Peer
from benchmarks.peers.rows import ROOT, float_row, peer_row
from benchmarks.peers.vehicle_files import write_vehicle
from benchmarks.real_detectors import DETECTORS
from benchmarks.suite.faces import FULL, QUICK, TestSize, cache_folder
from benchmarks.suite.material import Material, material
from benchmarks.vehicles import VEHICLES
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.resume import tensor_digest
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json

TESTS = {"quick": QUICK, "full": FULL}
#: Takes hours, so it only runs where it is named.
BY_HAND = ("aimet",)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tools", nargs="*", help=f"of {', '.join(REQUIREMENTS)}; none: all but aimet")
    parser.add_argument("--vehicle", choices=("demo", *VEHICLES, *DETECTORS), default="demo")
    parser.add_argument("--data", type=Path, help="folder of the real detectors and photographs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peers"))
    parser.add_argument("--samples", type=int, default=256, help="calibration images")
    parser.add_argument("--test", choices=TESTS, default="quick", help="test images")
    parser.add_argument("--only", default="", help="part of a row's name, such as brevitas.w4")
    parser.add_argument("--latency", action="store_true", help="time the files of all rows afterwards")
    parser.add_argument("--minutes", type=float, default=240, help="a method that takes longer is given up")
    options = parser.parse_args()
    unknown = [tool for tool in options.tools if tool not in REQUIREMENTS]
    if unknown:
        parser.error(f"{', '.join(unknown)}: choose of {', '.join(REQUIREMENTS)}")
    options.tools = options.tools or [tool for tool in REQUIREMENTS if tool not in BY_HAND]
    return options


def peer(tool: str) -> Peer:
    """What a tool's module says of itself; the tool is not imported."""
    return importlib.import_module(f"benchmarks.peers.tools.{tool}").PEER


def vehicle_folder(vehicle: str, given: Material, size: TestSize) -> Path:
    """The detector's files in the cache folder, found again by its weights and its images."""
    identity = f"{tensor_digest(given.detector.model.state_dict())} {given.calibration.hash} {size}"
    folder = cache_folder() / f"peers-{vehicle}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if not folder.exists():
        write_vehicle(given, folder)
    return folder


def time_files(folder: Path, out: Path, vehicle: str) -> None:
    """``VEHICLE.latency.json``: every file of the rows that can be timed, in one run."""
    made = {path.stem: json.loads(path.read_text()) for path in sorted(out.glob(f"{vehicle}.*.json"))}
    files = {
        f"{row['tool']} {row['method']}": str(_file(folder, row))
        for row in made.values() if row.get("files") and _file(folder, row).suffix in (".onnx", ".xml")
    }  # fmt: skip
    asked, answer = folder / "latency_request.json", folder / "latency.json"
    request = {"files": files, "image": str(folder / IMAGES / "calibration.npy")}
    write_json(asked, request)
    try:
        python = environment("nncf")
    except UserError:
        python = Path(sys.executable)
    command = [str(python), "-m", "benchmarks.peers.latency", str(asked), str(answer)]
    subprocess.run(command, cwd=ROOT, check=True)
    write_json(out / f"{vehicle}.latency.json", json.loads(answer.read_text()))


def _file(folder: Path, row: dict) -> Path:
    inside = folder if row["tool"] == "float" else folder / row["tool"] / row["method"]
    return inside / row["files"][0]


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    size = TESTS[options.test]
    given = material(options.vehicle, samples=options.samples, seed=0, size=size, data=options.data)
    folder = vehicle_folder(options.vehicle, given, size)
    origin = {
        "vehicle": options.vehicle, "samples": options.samples, "test": options.test,
        "provenance": provenance(0),
    }  # fmt: skip
    keep_row(options.out / f"{options.vehicle}.float.json", lambda: float_row(folder), origin)
    for tool in options.tools:
        for method in peer(tool).methods:
            path = options.out / f"{options.vehicle}.{tool}.{method}.json"
            if options.only not in path.stem:
                continue
            keep_row(path, functools.partial(peer_row, tool, method, folder, options.minutes), origin)
    if options.latency:
        time_files(folder, options.out, options.vehicle)


def keep_row(path: Path, make: Callable[[], dict], origin: dict) -> None:
    """Make a row and write it with ``origin``, where it has no file yet."""
    if path.exists():
        return
    print(path.stem, flush=True)
    row = make()
    write_json(path, row | origin)
    print(f"  {row.get('refused') or summary(row)}", flush=True)


def summary(row: dict) -> str:
    found = row["metrics"]
    flips = 100 * found["fidelity"]["flips"]["share"]
    return (
        f"AUC {found['auc']:.4f}, kept {found['auc_kept']:.4f}, flips {flips:.2f} %, {row['bytes']:,} bytes"
    )


if __name__ == "__main__":
    main()
