"""Build hardware from a FINN profile: estimates per layer, and the input of Vivado for a bitstream.

    python hw/build.py MODEL.onnx --target estimate --board ZCU104 --out DIR [--fps 100 | --fit] [--json]

`defakeq export RUN --format finn` writes MODEL.onnx. DIR receives the graph after every step (an interrupted
build resumes there), the report and host.json. See hw/README.md.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # the package `hw` instead of the files beside this one
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import check_writable, read_json, write_json
from hw.boards import BOARDS, board_named
from hw.command_line import OneLineErrorParser, rate
from hw.targets import TARGETS, check_target

if TYPE_CHECKING:
    import numpy as np

#: Characters per line of the table when it is written to a file or pipe.
_TABLE_WIDTH = 150


def parser() -> argparse.ArgumentParser:
    result = OneLineErrorParser(prog="hw/build.py", description=__doc__.partition("\n")[0])
    result.add_argument(
        "model", type=Path, metavar="MODEL.onnx", help="FINN profile; host.json is read from its folder"
    )
    result.add_argument(
        "--target",
        required=True,
        help="; ".join(f"{name}: {t.makes}{'' if t.ready else ' (planned)'}" for name, t in TARGETS.items()),
    )
    result.add_argument("--board", required=True, help=f"target board: {', '.join(BOARDS)}")
    result.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for graphs, report and host.json"
    )
    speed = result.add_mutually_exclusive_group()
    speed.add_argument(
        "--fps", type=rate, metavar="N", help="fold to N frames per second at the board's clock"
    )
    speed.add_argument(
        "--fit", action="store_true", help="fold as fast as the board's device allows (default)"
    )
    result.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE.npy",
        help="verify on these integers [N, 3, H, W]; default: random ones",
    )
    result.add_argument("--json", action="store_true", help="print the report as one JSON object")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 (failed step), 2 (user error) or 130 (interrupted)."""
    try:
        _main(arguments)
    except UserError as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail("interrupted; run the same command again to resume at this step", 130)
    except Exception as error:
        from hw.verify_steps import StepError

        if not isinstance(error, StepError):
            raise
        return _fail(error, 1)
    return 0


def _fail(reason: object, status: int) -> int:
    print(f"hw/build.py: {reason}", file=sys.stderr)
    return status


def _main(arguments: list[str] | None) -> None:
    options = parser().parse_args(arguments)
    board = board_named(options.board)
    check_target(options.target, board)
    from hw.finn_quirks import quiet_finn, require_finn

    require_finn()
    check_writable(options.out)
    from hw.build_report import build_report, write_report
    from hw.build_steps import Build

    build = Build(options.model, board, options.out, options.fps, _inputs(options.inputs), _StepProgress())
    graph = build.run()
    with quiet_finn():
        report = build_report(
            graph, board, target=options.target, wanted_fps=options.fps, verified=build.verified
        )
    write_report(report, options.out)
    _copy_host_description(options.model, options.out)
    _print_report(report, as_json=options.json)
    if options.target != "estimate":
        from hw.vivado import build_with_vivado

        build_with_vivado(build, options.target)


def _inputs(path: Path | None) -> "np.ndarray | None":
    if path is None:
        return None
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--inputs {path}: not an .npy file ({error}); numpy.save writes one") from None


class _StepProgress:
    """Progress callback that prints the running step to standard error.

    After Ctrl-C the build ends at the next step at the latest, even if a library swallows KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.interrupted = False
        signal.signal(signal.SIGINT, self._interrupt)

    def __call__(self, step: str, done: int, total: int) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        print(f"[{done}/{total}] {step}", file=sys.stderr, flush=True)

    def _interrupt(self, *_: object) -> None:
        self.interrupted = True
        raise KeyboardInterrupt


def _copy_host_description(model: Path, out: Path) -> None:
    """Copy host.json to the build, with the device's input layout, channels last."""
    host = model.parent / "host.json"
    if host.is_file():
        content = read_json(host)
        content["input"] = {**content.get("input", {}), "layout": "NHWC"}
        write_json(out / "host.json", content)


def _print_report(report: dict, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    from rich.console import Console

    from hw.build_report import report_table

    console = Console()
    Console(width=console.width if console.is_terminal else _TABLE_WIDTH).print(report_table(report))


if __name__ == "__main__":
    sys.exit(main())
