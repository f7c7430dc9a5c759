"""Runs `defakeq` commands, each in a process of its own that is forked after the slow imports.

Reads one JSON object a line, {"arguments", "folder", "output", "errors"}; writes the exit status of each.
With "kill_when" the process gets the signal "kill_by" as soon as one of those files exists. No tensor is ever
computed before a fork.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import signal
import sys
import time
import traceback

from PIL import Image

from brevitas_defakeq import api, cli  # noqa: F401  imported for the children
from brevitas_defakeq.report import inspection_report, terminal  # noqa: F401

#: What commands import when they need it.
LATER = ("networkx", "onnx.reference", "onnxruntime", "onnxscript", "scipy.stats", "torch.onnx")


def prepare_forks() -> None:
    """The rest of the imports; the collector then leaves them alone, or each child would copy their pages."""
    for name in LATER:
        importlib.import_module(name)
    Image.init()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        sys.argv = ["defakeq", "--version"]
        cli.main()
    gc.freeze()


def run(request: dict) -> int:
    """The command itself, in the child."""
    for descriptor, key in ((1, "output"), (2, "errors")):
        os.dup2(os.open(request[key], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(request["folder"])
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background hands down that it is ignored
    sys.argv = ["defakeq", *request["arguments"]]
    try:
        cli.main()
        return 0
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1


def serve() -> None:
    prepare_forks()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            status = run(request)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        if request["kill_when"]:
            until = time.monotonic() + 60
            while not any(map(os.path.exists, request["kill_when"])) and time.monotonic() < until:
                time.sleep(0.002)
            os.kill(child, request["kill_by"])
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
