"""Opens an ONNX file, plain or gzipped, in onnxruntime on the CPU; errors are one line."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

from brevitas_defakeq.utils.deflate import gunzipped
from brevitas_defakeq.utils.errors import UserError, one_line

_ERRORS_ONLY = 3  # onnxruntime's log level; its warnings would reach the user's terminal


def onnxruntime() -> ModuleType:
    """The module, imported on first use, as cards are read without it. Raises UserError if it is missing."""
    try:
        import onnxruntime as module
    except ImportError as error:
        raise UserError(f"onnxruntime cannot be imported ({one_line(error)}); install it with pip") from None
    return module


def is_model_file(path: Path) -> bool:
    """Whether a name is that of a ``model.onnx`` or ``model.onnx.gz``."""
    return path.name.endswith((".onnx", ".onnx.gz"))


def is_version(text: object) -> bool:
    """Whether a text is a version such as "1.18" or "1.22.1"."""
    return isinstance(text, str) and re.fullmatch(r"\d+(\.\d+)+", text) is not None


def version_numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison.

    >>> version_numbers("1.24.0.dev20250101") > version_numbers("1.18")
    True
    """
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in leading.group().split(".")) if leading else ()


def open_session(
    model: Path | bytes,
    threads: int | None = None,
    *,
    side_by_side: bool = False,
    optimize: bool = True,
    optimized: Path | None = None,
) -> Any:
    """An `onnxruntime.InferenceSession` on the processor.

    Args:
        model: the ONNX file, one that ends in ``.gz`` is unpacked in memory; or the content of a plain one.
        threads: threads within an operator, from 1; None lets onnxruntime choose.
        side_by_side: idle threads do not spin, so sessions that run alternately do not disturb each other.

        optimize: False turns the runtime's graph optimizations off.
        optimized: where to write the graph as the runtime has optimized it.

    Raises:
        UserError: the file is missing, cut short or cannot be loaded, or ``threads`` is no number of threads.
    """
    if threads is not None and (type(threads) is not int or threads < 1):
        raise UserError(f"threads={threads!r}: give a whole number from 1 on")
    if isinstance(model, Path) and not model.is_file():
        raise UserError(f"{model} does not exist; give a model.onnx that `defakeq export` wrote")
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads or 0
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    if side_by_side:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    source: bytes | str = model if isinstance(model, bytes) else str(model)
    if isinstance(model, Path) and model.suffix == ".gz":
        source = gunzipped(model.read_bytes(), model)
    try:
        return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no other base
        name = "the graph" if isinstance(model, bytes) else model
        raise UserError(
            f"onnxruntime {runtime.__version__} cannot load {name}: {one_line(error)}; export it again"
        ) from None
