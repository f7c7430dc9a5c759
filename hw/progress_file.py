"""What an interrupted build has done: its steps' graphs, and whether they are still of use."""

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

    A step is of use again if all that it came from is the same: the profile's bytes, FINN's version, this
    folder's code, the steps before it and what they were told.
    """

    folder: Path
    done: dict[str, dict]

    @classmethod
    def open(cls, folder: Path) -> "StepFiles":
        try:
            done = read_json(folder / _NAME)
        except UserError:  # nothing there, or cut off: all steps anew
            done = {}
        return cls(folder, done if isinstance(done.get("steps"), dict) else {"steps": {}})

    def path(self, number: int, name: str) -> Path:
        return self.folder / f"{number:02d}_{name}.onnx"

    def load(self, number: int, name: str, key: str) -> tuple[ModelWrapper, dict] | None:
        """The graph behind a step and what was noted of it, if it was made from the same."""
        notes = self.done["steps"].get(name)
        path = self.path(number, name)
        if notes is None or notes.get("key") != key or not path.is_file():
            return None
        return ModelWrapper(str(path)), notes

    def save(self, number: int, name: str, key: str, model: ModelWrapper, notes: dict) -> None:
        """Write a step's graph, then that it is done."""
        with written_whole(self.path(number, name)) as temporary:
            model.save(str(temporary))
        self.done["steps"][name] = {"key": key, **notes}
        write_json(self.folder / _NAME, self.done)


def first_key(profile: bytes, versions: dict[str, str], inputs: bytes) -> str:
    """What all steps come from."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    contents = [hashlib.sha256(each).hexdigest() for each in (code, profile, inputs)]
    return _hash(repr(sorted(versions.items())), *contents)


def next_key(before: str, name: str, settings: str) -> str:
    """What a step comes from: all before it, its name, and what it was told."""
    return _hash(before, name, settings)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
