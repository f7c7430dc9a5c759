"""State of an unfinished run: an interrupted run goes on where it stopped and ends with the same result."""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import check_writable, read_json, write_bytes, write_json

_FOLDER = ".unfinished"


class Checkpoint:
    """Keeps named tensors and notes after each stage in ``OUT/.unfinished``; without a folder keeps nothing.

    Args:
        out: the run folder, or None.
        identity: all that decides the result; a folder begun with another identity is refused.
    """

    def __init__(self, out: Path | None, identity: dict) -> None:
        self.folder = out / _FOLDER if out else None
        self.identity = _digest(identity)
        self.notes: dict = {}
        if self.folder is None:
            return
        if (self.folder / "state.json").exists():
            state = read_json(self.folder / "state.json")
            self._refuse_other(out, state.get("identity"))
            self.notes = state["notes"]
        elif (out / "config.json").exists():
            self._refuse_other(out, read_json(out / "report.json").get("identity"))
        check_writable(self.folder)

    def _refuse_other(self, out: Path, found: str | None) -> None:
        if found != self.identity:
            raise UserError(
                f"{out} holds a run with another configuration, detector or calibration set; "
                "choose another --out or remove that folder"
            )

    def tensors(self) -> dict[str, Tensor] | None:
        """What the last ``keep`` kept; None at the start of a run."""
        if self.folder is None or "stage" not in self.notes:
            return None
        try:
            return load_file(self.folder / f"{self.notes['stage']}.safetensors")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self.folder} is damaged ({error}); remove it to start afresh") from None

    def keep(self, stage: str, tensors: dict[str, Tensor], **notes) -> None:
        """Keep the state after ``stage``; the state before it is dropped once this one is whole."""
        before = self.notes.get("stage")
        self.notes = {**self.notes, **notes, "stage": stage}
        if self.folder is None:
            return
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        write_bytes(self.folder / f"{stage}.safetensors", save(contiguous))
        write_json(self.folder / "state.json", {"identity": self.identity, "notes": self.notes})
        if before and before != stage:
            (self.folder / f"{before}.safetensors").unlink(missing_ok=True)

    def done(self) -> None:
        """The run is saved; its intermediate state is no longer needed."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _digest(identity: dict) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def tensor_digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes: the identity of weights or images."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
