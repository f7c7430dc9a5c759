"""Lists a synthetic index of 1.8 million frames and says what that took, in a process of its own.

    python large_index.py write FOLDER
    python large_index.py list FOLDER

The folders of all videos are links to one folder of 32 files, so that the files are there and cost nothing.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path

from brevitas_defakeq.data.calibration import choose_calibration
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.runtime.peak_memory import process_peak_bytes

PAIRS, FRAMES = 11_250, 32
METHODS = {"FF-DF": "Deepfakes", "FF-F2F": "Face2Face", "FF-FS": "FaceSwap", "FF-NT": "NeuralTextures"}


def write_index(root: Path) -> None:
    """An index in the style of FaceForensics++: as many originals as each of four methods has fakes."""
    stored = root / "stored"
    stored.mkdir()
    for frame in range(FRAMES):
        (stored / f"{frame:03d}.png").touch()
    places = {"FF-real": "original_sequences/youtube"}
    places |= {kind: f"manipulated_sequences/{method}" for kind, method in METHODS.items()}
    groups = {}
    for kind, place in places.items():
        frames = root / "FaceForensics++" / place / "c23/frames"
        frames.mkdir(parents=True)
        videos = {}
        for pair in range(PAIRS):
            name = f"{pair:05d}" if kind == "FF-real" else f"{pair:05d}_{(pair + 1) % PAIRS:05d}"
            (frames / name).symlink_to(stored)
            folder = f".\\datasets\\rgb\\FaceForensics++\\{place}\\c23\\frames\\{name}\\".replace("/", "\\")
            videos[name] = {"label": kind, "frames": [f"{folder}{frame:03d}.png" for frame in range(FRAMES)]}
        groups[kind] = {"test": {"c23": videos}}
    (root / "FaceForensics++.json").write_text(json.dumps({"FaceForensics++": groups}))


def list_index(root: Path) -> None:
    index = root / "FaceForensics++.json"
    start = time.perf_counter()
    listing = read_source(index, Selection(root=root))
    listed = time.perf_counter()
    even = listing.thinned(8, first=False)
    thinned = time.perf_counter()
    chosen = choose_calibration(listing, 256, seed=0)
    calibrated = time.perf_counter()
    walked = sum(sample.label for sample in listing)
    print(
        json.dumps(
            {
                "rows": len(listing), "thinned": len(even), "fakes": walked,
                "kinds": Counter(sample.manipulation for sample in chosen),
                "videos": len({sample.video for sample in chosen}),
                "index_bytes": index.stat().st_size,
                "seconds": {
                    "list": listed - start, "thin": thinned - listed, "calibrate": calibrated - thinned,
                    "walk": time.perf_counter() - calibrated,
                },
                "peak_bytes": process_peak_bytes(),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    {"write": write_index, "list": list_index}[sys.argv[1]](Path(sys.argv[2]))
