"""The saved graphs of a build's steps, and whether they are still valid."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from qonnx.core.modelwrapper import ModelWrapper

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json, write_json, written_whole

_NAME = "steps.json"


@dataclass
class StepFiles:
    """The folder of a build's steps.

    A saved graph is valid while the profile, FINN's version, the code of `hw`, the earlier steps and all
    settings are unchanged.
    """

    folder: Path
    done: dict[str, dict]

    @classmethod
    def open(cls, folder: Path) -> "StepFiles":
        """Read the folder; a missing or truncated progress file means that no step is done."""
        try:
            done = read_json(folder / _NAME)
        except UserError:
            done = {}
        return cls(folder, done if isinstance(done.get("steps"), dict) else {"steps": {}})

    def path(self, number: int, name: str) -> Path:
        """The file of a step's graph; ``number`` counts from 1."""
        return self.folder / f"{number:02d}_{name}.onnx"

    def load(self, number: int, name: str, key: str) -> tuple[ModelWrapper, dict] | None:
        """The saved graph of a step and its notes, or None if it is missing or no longer valid."""
        notes = self.done["steps"].get(name)
        path = self.path(number, name)
        if notes is None or notes.get("key") != key or not path.is_file():
            return None
        return ModelWrapper(str(path)), notes

    def save(self, number: int, name: str, key: str, model: ModelWrapper, notes: dict) -> None:
        """Write a step's graph, then record it in the progress file."""
        with written_whole(self.path(number, name)) as temporary:
            model.save(str(temporary))
        self.done["steps"][name] = {"key": key, **notes}
        write_json(self.folder / _NAME, self.done)


def first_key(profile: bytes, versions: dict[str, str], inputs: bytes) -> str:
    """Key of what all steps depend on: the code of `hw`, the profile, package versions and inputs."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    contents = [hashlib.sha256(each).hexdigest() for each in (code, profile, inputs)]
    return _hash(repr(sorted(versions.items())), *contents)


def next_key(before: str, name: str, settings: str) -> str:
    """Key of a step: the key of the step before it, its name and settings."""
    return _hash(before, name, settings)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
