"""A build: the steps in order, each kept, verified, and taken up again where a build was interrupted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np

from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.utils.errors import UserError
from hw.boards import Board
from hw.finn_quirks import quiet_finn

_PACKAGES = ("finn-plus", "qonnx")


@dataclass
class Build:
    """One profile for one board.

    Attributes:
        fps: frames a second to fold to; None folds as fast as the board allows.
        inputs: what to verify on, [N, 3, H, W]; None draws some.
        verified: step -> frames, equal ones, largest difference (`hw.verify_steps.StepAgreement`).
    """

    model: Path
    board: Board
    out: Path
    fps: float | None = None
    inputs: np.ndarray | None = None
    on_progress: ProgressCallback = silent
    verified: dict[str, dict] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.out / "steps"

    def run(self):
        """The folded graph (qonnx ModelWrapper). Raises UserError for what the user can mend."""
        with quiet_finn():
            return self._run()

    def _run(self):
        from hw.progress_file import StepFiles, first_key, next_key
        from hw.read_profile import read_profile
        from hw.verify_steps import ProfileReference

        graph, steps = read_profile(self.model), StepFiles.open(self.folder)
        reference = ProfileReference(graph, self.inputs)
        given = b"" if self.inputs is None else self.inputs.tobytes()
        key = first_key(self.model.read_bytes(), {name: version(name) for name in _PACKAGES}, given)
        plan = self.plan()
        for number, (name, settings, step) in enumerate(plan, 1):
            self.on_progress(name, number - 1, len(plan))
            key = next_key(key, name, settings)
            kept = steps.load(number, name, key)
            if kept is None:
                start = perf_counter()
                graph = _tried(name, step, graph)
                notes = {"verified": reference.check(name, graph).to_dict()}
                steps.save(number, name, key, graph, notes | {"seconds": perf_counter() - start})
                self.seconds[name] = perf_counter() - start
            else:
                graph, notes = kept
                self.resumed.append(name)
                self.seconds[name] = notes["seconds"]
            self.verified[name] = notes["verified"]
        self.on_progress("estimate", len(plan), len(plan))
        return graph

    def plan(self) -> list[tuple[str, str, Callable]]:
        """Name of each step, what it is told (as text, for the progress file), and the step."""
        from hw.steps import TO_DEVICE, TO_HARDWARE, run_step

        parts = self.folder / "partition"
        arguments = {
            "partition": (parts,), "specialize": (self.board,), "fold": (self.board, self.fps),
            "decompose": (self.board,),
        }  # fmt: skip
        settings = {
            "specialize": self.board.part, "fold": f"{self.board} {self.fps}", "decompose": self.board.part,
        }  # fmt: skip

        def bound(name: str) -> Callable:
            if name == "partition":
                parts.mkdir(parents=True, exist_ok=True)
            return lambda graph: run_step(name, graph, *arguments.get(name, ()))

        return [(name, settings.get(name, ""), bound(name)) for name in (*TO_HARDWARE, *TO_DEVICE)]


def _tried(name: str, step: Callable, graph):
    """A step; what FINN raises on a graph that it was not made for becomes one line."""
    from hw.verify_steps import StepError

    try:
        return step(graph)
    except UserError:
        raise
    except Exception as error:
        what = (str(error).strip().splitlines() or [""])[0]
        raise StepError(
            f"step {name} failed ({type(error).__name__}: {what[:200]}); please report it with the file"
        ) from error
