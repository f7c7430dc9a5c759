"""From a FINN profile to estimates, and to everything that Vivado needs for a bitstream.

    python hw/build.py MODEL.onnx --target estimate --board ZCU104 --out DIR [--fps 100 | --fit] [--json]

MODEL.onnx is what `defakeq export RUN --format finn` wrote. DIR gets the graph behind every step (an
interrupted build goes on where it was), the report, and host.json. See hw/README.md.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # the package `hw` instead of the files beside this one
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import check_writable, read_json, write_json
from hw.boards import BOARDS, board_named
from hw.command_line import OneLineErrorParser, rate
from hw.targets import TARGETS, check_target

#: Columns of the table where it goes to a file.
_WIDTH = 150


def parser() -> argparse.ArgumentParser:
    made = OneLineErrorParser(prog="hw/build.py", description=__doc__.partition("\n")[0])
    made.add_argument(
        "model", type=Path, metavar="MODEL.onnx", help="a FINN profile; host.json lies beside it"
    )
    made.add_argument(
        "--target", required=True, help="; ".join(f"{k}: {v.makes}" for k, v in TARGETS.items())
    )
    made.add_argument("--board", required=True, help=", ".join(BOARDS))
    made.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="what the build writes goes here"
    )
    speed = made.add_mutually_exclusive_group()
    speed.add_argument("--fps", type=rate, metavar="N", help="fold to N frames a second at the board's clock")
    speed.add_argument(
        "--fit", action="store_true", help="fold as fast as the board's device allows (default)"
    )
    made.add_argument(
        "--inputs", type=Path, metavar="FILE.npy", help="inputs to verify on, whole numbers [N, 3, H, W]"
    )
    made.add_argument("--json", action="store_true", help="the report as one JSON object on standard output")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0; 2 for what the user can mend; 1 for our own failure; 130 when interrupted."""
    try:
        _main(arguments)
    except UserError as error:
        return _say(error, 2)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on at the step where it was", 130)
    except Exception as error:
        from hw.verify_steps import StepError

        if not isinstance(error, StepError):
            raise
        return _say(error, 1)
    return 0


def _say(what: object, status: int) -> int:
    print(f"hw/build.py: {what}", file=sys.stderr)
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

    build = Build(options.model, board, options.out, options.fps, _inputs(options.inputs), _Listener())
    graph = build.run()
    with quiet_finn():
        report = build_report(
            graph, board, target=options.target, wanted_fps=options.fps, verified=build.verified
        )
    write_report(report, options.out)
    _carry_host(options.model, options.out)
    _show(report, as_json=options.json)
    if options.target != "estimate":
        from hw.vivado import build_with_vivado

        build_with_vivado(build, options.target)


def _inputs(path: Path | None):
    if path is None:
        return None
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--inputs {path}: not an .npy file ({error}); numpy.save writes one") from None


class _Listener:
    """Says on standard error which step runs.

    After Ctrl-C the build ends at the next step at the latest: libraries swallow an exception now and then.
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


def _carry_host(model: Path, out: Path) -> None:
    """What the host does around the device goes along; there, images lie channels last."""
    host = model.parent / "host.json"
    if host.is_file():
        content = read_json(host)
        content["input"] = {**content.get("input", {}), "layout": "NHWC"}
        write_json(out / "host.json", content)


def _show(report: dict, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    from rich.console import Console

    from hw.build_report import report_table

    console = Console()
    Console(width=console.width if console.is_terminal else _WIDTH).print(report_table(report))


if __name__ == "__main__":
    sys.exit(main())
