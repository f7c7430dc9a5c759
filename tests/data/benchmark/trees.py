"""Random data sets on the disk, and what must be read back from them, without the package's own table."""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random

SPLITS = ("train", "val", "test")
REAL = {
    "FF-real", "DFD_real", "CelebDFv1_real", "CelebDFv2_real", "DFDCP_Real", "DFDC_Real", "UADFV_Real"
}  # fmt: skip
#: Fakes whose label's name says how they were made.
METHODS = {"FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FF-FH", "DFDCP_FakeA", "DFDCP_FakeB"}

_YOUTUBE = {"original_sequences/youtube": "FF-real"}


def _celeb(version):
    real, fake = f"CelebDF{version}_real", f"CelebDF{version}_fake"
    return {"Celeb-real": real, "YouTube-real": real, "Celeb-synthesis": fake}


#: Data set -> (its folder, class folder -> label's name); of DFDC each video has its own label.
SHAPES = {
    "FaceForensics++": ("FaceForensics++", {
        **_YOUTUBE, "manipulated_sequences/Deepfakes": "FF-DF", "manipulated_sequences/Face2Face": "FF-F2F",
        "manipulated_sequences/FaceSwap": "FF-FS", "manipulated_sequences/NeuralTextures": "FF-NT",
    }),
    "FF-DF": ("FaceForensics++", {**_YOUTUBE, "manipulated_sequences/Deepfakes": "FF-DF"}),
    "FaceShifter": ("FaceForensics++", {**_YOUTUBE, "manipulated_sequences/FaceShifter": "FF-FH"}),
    "DeepFakeDetection": ("FaceForensics++", {
        "original_sequences/actors": "DFD_real", "manipulated_sequences/DeepFakeDetection": "DFD_fake",
    }),
    "Celeb-DF-v1": ("Celeb-DF-v1", _celeb("v1")),
    "Celeb-DF-v2": ("celebdf", _celeb("v2")),
    "DFDCP": ("DFDCP", {
        "original_videos": "DFDCP_Real", "method_A": "DFDCP_FakeA", "method_B": "DFDCP_FakeB",
    }),
    "DFDC": ("DFDC", {
        "test": None, "train/dfdc_train_part_0": None, "train/dfdc_train_part_01/dfdc_train_part_1": None,
    }),
    "UADFV": ("UADFV", {"real": "UADFV_Real", "fake": "UADFV_Fake"}),
}  # fmt: skip
PAIRED = {"FaceForensics++", "FF-DF", "FaceShifter"}
COMPRESSED = {*PAIRED, "DeepFakeDetection"}


@dataclass(frozen=True)
class Truth:
    """A video, and the frames that its folder holds, in their order."""

    dataset: str
    kind: str
    compression: str
    name: str
    splits: tuple[str, ...]
    folder: str
    frames: tuple[str, ...]

    @property
    def label(self):
        return int(self.kind not in REAL)

    @property
    def key(self):
        return "/".join(filter(None, (self.kind, self.compression, self.name)))

    @property
    def manipulation(self):
        return self.kind if self.kind in METHODS else ""


def videos(random: Random, dataset: str, compression: str = "c23") -> list[Truth]:
    """Two to four videos in each class folder, or two to four pairs, in random splits."""
    _, classes = SHAPES[dataset]
    found = []

    def add(folder, kind, name, splits):
        folder = f"{folder}/{compression}" if dataset in COMPRESSED else folder
        frames = sorted(random.sample(range(1500), random.randint(1, 4)))
        level = compression if dataset in COMPRESSED else ""
        names = tuple(f"{number:03d}.png" for number in frames)
        found.append(Truth(dataset, kind, level, name, splits, folder, names))

    if dataset in PAIRED:
        people = [f"{person:03d}" for person in random.sample(range(1000), random.choice((4, 6, 8)))]
        for a, b in zip(people[::2], people[1::2], strict=True):
            splits = (random.choice(SPLITS),)
            for folder, kind in classes.items():
                for name in (a, b) if kind in REAL else (f"{a}_{b}", f"{b}_{a}"):
                    add(folder, kind, name, splits)
        return found
    for position, (folder, kind) in enumerate(classes.items()):
        for number in random.sample(range(10**6), random.randint(2, 4)):
            name = f"{position}x{number}"  # a name is one video's within its label
            if kind is None:
                own = random.choice(("DFDC_Real", "DFDC_Fake"))
                add(folder, own, name, ("test",) if folder == "test" else ("train",))
            elif dataset in ("UADFV", "DeepFakeDetection"):
                add(folder, kind, name, SPLITS)
            else:
                add(folder, kind, name, random.choice((("train",), ("val", "test"))))
    return found


def write_lists(root: Path, truths: list[Truth]) -> None:
    """The data set's own lists, in the form in which they are downloaded."""
    dataset = truths[0].dataset
    root.mkdir(parents=True, exist_ok=True)
    if dataset in PAIRED:
        for split in SPLITS:
            fakes = [t.name.split("_") for t in truths if t.label and split in t.splits]
            (root / f"{split}.json").write_text(json.dumps([pair for pair in fakes if pair[0] < pair[1]]))
    elif dataset.startswith("Celeb"):
        lines = [f"{1 - t.label} {t.folder}/{t.name}.mp4\n" for t in truths if "test" in t.splits]
        (root / "List_of_testing_videos.txt").write_text("".join(lines))
    elif dataset == "DFDCP":
        entries = {
            f"{t.folder}/someone/{t.name}.mp4": {
                "label": ("real", "fake")[t.label], "set": "test" if "test" in t.splits else "train"
            }
            for t in truths
        }  # fmt: skip
        (root / "dataset.json").write_text(json.dumps(entries))
    elif dataset == "DFDC":
        parts = defaultdict(list)
        for truth in truths:
            parts[truth.folder].append(truth)
        for folder, own in parts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            if folder == "test":
                with open(root / folder / "labels.csv", "w", newline="") as file:
                    csv.writer(file).writerows(
                        [("filename", "label"), *((f"{t.name}.mp4", t.label) for t in own)]
                    )
            else:
                known = {f"{t.name}.mp4": {"label": ("REAL", "FAKE")[t.label], "split": "train"} for t in own}
                (root / folder / "metadata.json").write_text(json.dumps(known))


def write_frames(root: Path, truths: list[Truth]) -> None:
    for truth in truths:
        folder = root / truth.folder / "frames" / truth.name
        folder.mkdir(parents=True, exist_ok=True)
        for frame in truth.frames:
            (folder / frame).touch()


def write_videos(root: Path, truths: list[Truth], own_folder: bool) -> dict[Truth, Path]:
    """Video files, in a folder `videos` or right in the class folder; DFDCP has one more level."""
    files = {}
    for truth in truths:
        folder = root / truth.folder / ("videos" if own_folder else "")
        folder = folder / "someone" if truth.dataset == "DFDCP" else folder
        folder.mkdir(parents=True, exist_ok=True)
        files[truth] = folder / f"{truth.name}.mp4"
        files[truth].touch()
    return files
