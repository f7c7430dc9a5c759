"""A build: runs the steps in order, verifies and saves each graph, and resumes an interrupted build."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.utils.errors import UserError, first_line
from hw.boards import Board
from hw.finn_quirks import finn_versions, quiet_finn

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper


@dataclass
class Build:
    """The build of one profile for one board.

    Attributes:
        model: the profile, an ONNX file.
        out: the build folder; graphs go to its subfolder ``steps``.
        fps: frames per second to fold to; None folds as fast as the board allows.
        inputs: integers [N, 3, H, W] to verify on; None draws random ones.
        verified: step -> fields of `hw.verify_steps.StepAgreement`.
        seconds: step -> seconds it took, also of resumed steps.
        resumed: steps whose graph was loaded from an earlier build.
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

    def run(self) -> "ModelWrapper":
        """The folded graph.

        Raises:
            UserError: the file, board or rate is unsuitable.
            StepError: a step failed or changed the network's function.
        """
        with quiet_finn():
            return self._run()

    def _run(self) -> "ModelWrapper":
        from hw.progress_file import StepFiles, first_key, next_key
        from hw.read_profile import read_profile
        from hw.verify_steps import ProfileReference

        graph, steps = read_profile(self.model), StepFiles.open(self.folder)
        reference = ProfileReference(graph, self.inputs)
        inputs = b"" if self.inputs is None else self.inputs.tobytes()
        key = first_key(self.model.read_bytes(), finn_versions(), inputs)
        plan = self.plan()
        for number, (name, settings, step) in enumerate(plan, 1):
            self.on_progress(name, number - 1, len(plan))
            key = next_key(key, name, settings)
            saved = steps.load(number, name, key)
            if saved is None:
                start = perf_counter()
                graph = _run_step(name, step, graph)
                notes: dict[str, Any] = {"verified": reference.check(name, graph).to_dict()}
                notes["seconds"] = perf_counter() - start
                steps.save(number, name, key, graph, notes)
            else:
                graph, notes = saved
                self.resumed.append(name)
            self.verified[name], self.seconds[name] = notes["verified"], notes["seconds"]
        self.on_progress("estimate", len(plan), len(plan))
        return graph

    def plan(self) -> list[tuple[str, str, Callable]]:
        """For each step: name, its settings as text (for the progress file), and the step as a function."""
        from hw.steps import TO_DEVICE, TO_HARDWARE, run_step

        partition_folder = self.folder / "partition"
        arguments = {
            "partition": (partition_folder,), "specialize": (self.board,), "fold": (self.board, self.fps),
            "decompose": (self.board,),
        }  # fmt: skip
        settings = {
            "specialize": self.board.part, "fold": f"{self.board} {self.fps}", "decompose": self.board.part,
        }  # fmt: skip

        def bound(name: str) -> Callable:
            if name == "partition":
                partition_folder.mkdir(parents=True, exist_ok=True)
            return lambda graph: run_step(name, graph, *arguments.get(name, ()))

        return [(name, settings.get(name, ""), bound(name)) for name in (*TO_HARDWARE, *TO_DEVICE)]


def _run_step(name: str, step: Callable, graph: "ModelWrapper") -> "ModelWrapper":
    """Run a step; any exception of FINN's becomes a one-line StepError."""
    from hw.verify_steps import StepError

    try:
        return step(graph)
    except UserError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {first_line(error)}"
        raise StepError(f"step {name} failed ({what}); please report it with the file") from error
