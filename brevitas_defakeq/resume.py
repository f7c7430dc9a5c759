"""State of an unfinished run, from which it continues after an interruption, with the same result."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import check_writable, read_json, write_bytes, write_json

_FOLDER = ".unfinished"


class Checkpoint:
    """Saves tensors and notes after each stage in ``OUT/.unfinished``; nothing without a folder.

    Args:
        out: the run folder, or None.
        identity: everything that decides the result, as JSON.

    Raises:
        UserError: the folder holds a run with another identity, or cannot be written.
    """

    def __init__(self, out: Path | None, identity: dict[str, Any]) -> None:
        self.folder = out / _FOLDER if out else None
        self.identity = _digest(identity)
        self.notes: dict[str, Any] = {}
        if out is None or self.folder is None:
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
        """The tensors of the last ``keep``; None at the start of a run."""
        if self.folder is None or "stage" not in self.notes:
            return None
        try:
            return load_file(self.folder / f"{self.notes['stage']}.safetensors")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self.folder} is damaged ({error}); remove it to start afresh") from None

    def keep(self, stage: str, tensors: dict[str, Tensor], **notes: Any) -> None:
        """Save the state after ``stage``, then delete the state before it."""
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
        """Delete the state of a run that has been saved."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _digest(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def tensor_digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes: the identity of weights or images."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
