"""From 1080p video to aligned face crops: frames a second through decode, find, cut and save.

    python -m benchmarks.crops [--workers 2] [--table]

The video is made here: a drawn face that moves over a wall with grain, H.264 at CRF 23. "one video" searches
each of its frames, "four videos" 32 of 200 each, as data sets are read; there most of the time goes into
decoding the frames between. The 1-minute load before the run says whether others used the machine; the
processor time ("core seconds", and the stages' milliseconds) depends on it less than the time that passed.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.tables import markdown, reports
from brevitas_defakeq.data.crop_samples import crop_videos
from brevitas_defakeq.data.face_crops import CropSettings
from brevitas_defakeq.data.procedural import draw
from brevitas_defakeq.data.video import Frame, read_frames
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.runtime.align import face_crop
from brevitas_defakeq.runtime.yunet import FaceFinder
from brevitas_defakeq.utils.files import write_json

FRAMES, HEIGHT, WIDTH, FACE = 200, 1080, 1920, 256
CROP = Crop("aligned", 0.15)
#: Case -> how often the video is listed, how many of its frames are looked at.
CASES = {"one video": (1, FRAMES), "four videos": (4, 32)}
STAGE_FRAMES = 40


@dataclass(frozen=True)
class Video:
    """A listed video."""

    path: Path
    label: int = 0
    name: str = "made"
    dataset: str = "benchmark"
    manipulation: str | None = None
    split: str | None = None


def make_video(path: Path) -> Path:
    """The face goes from left to right, on a wall with the grain of a camera."""
    generator = np.random.default_rng(0)
    light = np.linspace(170, 60, WIDTH)[None, :, None] + np.array([0, 12, 25])
    grain = generator.normal(0, 1.5, (4, HEIGHT, WIDTH, 1))
    walls = [np.clip(light + noise, 0, 255).astype(np.uint8) for noise in grain]
    faces = [draw(2 * index, seed=5, size=FACE).image for index in range(4)]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            pixels = walls[number % len(walls)].copy()
            left, top = 100 + 7 * number, 300 + number
            pixels[top : top + FACE, left : left + FACE] = faces[number // 8 % len(faces)]
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
    return path


def measure(workers: int) -> dict:
    """Every case, and each stage by itself on one thread."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        path = make_video(Path(folder, "made.mp4"))
        video_bytes = path.stat().st_size
        cases = {name: run(path, workers, *case) for name, case in CASES.items()}
        stages = stage_times(path, Path(folder))
    return {
        "workers": workers, "processors": os.cpu_count(), "load": round(load, 2), "cases": cases,
        "stages_ms": stages, "video": [WIDTH, HEIGHT, FRAMES], "video_bytes": video_bytes,
        "provenance": provenance(0), "av": av.__version__,
    }  # fmt: skip


def run(path: Path, workers: int, videos: int, frames: int) -> dict:
    """One case with an empty cache; the finder's start is counted."""
    listed = []
    for number in range(videos):
        listed.append(Video(path.with_name(f"copy{number}.mp4")))
        shutil.copyfile(path, listed[-1].path)
    settings = CropSettings(CROP, frames=frames)
    with tempfile.TemporaryDirectory() as cache:
        start, core_start = time.perf_counter(), time.process_time()
        cut = crop_videos(listed, settings, cache, workers=workers)
        seconds, core_seconds = time.perf_counter() - start, time.process_time() - core_start
    looked = sum(video.frames for video in cut)
    return {
        "videos": videos, "frames": looked, "without_face": sum(video.without_face for video in cut),
        "seconds": round(seconds, 2), "core_seconds": round(core_seconds, 2),
        "frames_per_second": round(looked / seconds, 1),
    }  # fmt: skip


def stage_times(path: Path, folder: Path) -> dict[str, float]:
    """Milliseconds of processor time that each stage takes for a frame, on one thread."""
    frames: list[Frame] = []
    finder = FaceFinder()
    decode = core_ms(lambda: frames.extend(read_frames(path, STAGE_FRAMES, choose="first")))
    face = finder.faces(frames[0].pixels)[0]
    crop = Image.fromarray(face_crop(frames[0].pixels, face, CROP))
    stages = {
        "find": lambda frame: finder.faces(frame.pixels),
        "cut": lambda frame: face_crop(frame.pixels, face, CROP),
        "save": lambda _: crop.save(folder / "crop.png", compress_level=1),
    }
    times = {
        name: core_ms(lambda stage=stage: [stage(frame) for frame in frames])
        for name, stage in stages.items()
    }
    return {name: round(total / STAGE_FRAMES, 1) for name, total in {"decode": decode, **times}.items()}


def core_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def table(out: Path) -> str:
    """Markdown from the JSON files."""
    columns = (
        "case", "workers", "frames", "without face", "seconds", "core seconds", "frames a second",
        "decode, find, cut, save ms", "load before",
    )  # fmt: skip
    rows = [
        (
            name, str(report["workers"]), str(case["frames"]), str(case["without_face"]),
            f"{case['seconds']:.1f}", f"{case['core_seconds']:.1f}", f"{case['frames_per_second']:.1f}",
            ", ".join(f"{value:.1f}" for value in report["stages_ms"].values()), f"{report['load']:.1f}",
        )
        for report in reports(out).values()
        for name, case in report["cases"].items()
    ]  # fmt: skip
    return markdown(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/crops"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        write_json(options.out / f"workers{options.workers}.json", measure(options.workers))
    (options.out / "README.md").write_text(table(options.out))


if __name__ == "__main__":
    main()
