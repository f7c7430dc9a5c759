"""Workarounds for FINN+ 1.6.1; other modules use FINN as documented.

* FINN needs settings before anything else, and creating them leaves a folder in the user's home. It logs
  every near miss of a pattern, and qonnx warns of every guess, hundreds of lines per build: `quiet_finn`.
* The LayerNorm layer imports torch for one function, and all other layers are imported with it:
  `_layers_without_torch`.
* The Reshape layer, unlike the others, registers itself only on import: `quiet_finn`.
* `finn.builder` imports Vivado's simulator interface, which fails without XILINX_VIVADO:
  `builder_without_vivado`. `build_dataflow_cfg` returns -1 on failure instead of raising, and opens a
  debugger: the written configuration sets `enable_build_pdb_debug=False`, and the run script exits with a
  status.
* qonnx scans lists for every look-up: `hw.cached_lookups` (MobileNetV2: one minute of passes instead of
  seven).
* qonnx gives a concatenation the type of its first operand: `hw.concat_types`.
* Transposes past joins, max pooling channels last, flattened maps: FINN's passes fail where a branch is read
  elsewhere too (`hw.steps.layout_rewrites`, `hw.steps.flatten_rewrites`).
* qonnx guesses layouts from ranks and propagates the guesses: tokens, and images after quantized weights,
  become NHWC, and thresholds use the wrong channel axis: `channels_layout`, `set_threshold_layouts_`.
* `SetFolding` skips HWSoftmax, Pad1D, SelectToken and elementwise RTL: `FOLDED_HERE`, `hw.folding`.
* Estimators: some layers inherit the base class's 0, and RTL products return 0 LUT: `unestimated`.
* The builder turns every quantizer above 8 bits into a `Requant`, which loses its clip:
  `hw.steps.map_to_hardware` uses thresholds only.
* `step_resnet_streamline` never ends: its moves past forks undo its moves past joins. `hw.steps.fixpoint`
  repeats passes until none changes the graph, and raises an error if they do not converge.
"""

import contextlib
import importlib.util
import logging
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brevitas_defakeq.utils.errors import UserError
from hw.cached_lookups import cached_lookups
from hw.concat_types import concat_types

if TYPE_CHECKING:
    from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp
    from qonnx.core.modelwrapper import ModelWrapper

#: Domain of FINN's hardware layers; those of a device are below it.
FINN_DOMAIN = "finn.custom_op.fpgadataflow"
#: Layers that multiply or add floating-point numbers, or scale: they need DSPs even if the estimate is 0.
_ARITHMETIC = ("LayerNorm", "HWSoftmax", "Requant", "ElementwiseMul", "ElementwiseAdd", "ElementwiseSub")
#: Layers that buffer much of a frame: they need block RAM even if the estimate is 0.
_BUFFERING = ("LayerNorm", "HWSoftmax", "InnerShuffle", "OuterShuffle", "GlobalAccPool")
#: Layers that FINN's `SetFolding` skips -> their parallelism attribute.
FOLDED_HERE = {
    "HWSoftmax_hls": "SIMD", "HWSoftmax_rtl": "SIMD", "LayerNorm_hls": "SIMD", "Pad1D_rtl": "SIMD",
    "SelectToken_rtl": "SIMD", "ElementwiseMul_rtl": "PE", "ElementwiseAdd_rtl": "PE",
    "ElementwiseSub_rtl": "PE",
}  # fmt: skip
#: RTL whose LUT estimator returns 0, or counts memories but not comparators.
_PARTIAL_LUT = ("MVAU_rtl", "VVAU_rtl", "Thresholding_rtl")
#: Operators whose result is an image, channels second; operators whose result is tokens or heads, channels
#: last.
_IMAGE_OPS = ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool")
_TOKEN_OPS = ("MatMul", "Reshape", "Transpose", "Softmax", "LayerNormalization")
#: Layers that exist for Versal devices only; layers whose RTL does, while their HLS runs on every device.
VERSAL_ONLY = ("PWPolyF",)
VERSAL_RTL = ("VVAU", "LayerNorm", "HWSoftmax", "ElementwiseAdd", "ElementwiseSub", "ElementwiseMul")
#: Bits of the widest activation that becomes thresholds: 8, and one for a folded zero point.
WIDEST_THRESHOLDS = 9


def require_finn() -> None:
    """Raises UserError where the `fpga` extra is not installed."""
    missing = [name for name in ("qonnx", "finn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} cannot be imported; install the extra in an environment of its own: "
            'pip install "brevitas-defakeq[fpga]"'
        )


def finn_versions() -> dict[str, str]:
    """The versions of the packages that decide what a build gives."""
    return {name: version(name) for name in ("finn-plus", "qonnx")}


@contextlib.contextmanager
def quiet_finn() -> Iterator[None]:
    """Within the context FINN has settings and a scratch folder, and neither logs nor warns."""
    require_finn()
    scratch = Path(tempfile.gettempdir()) / f"defakeq_finn_{os.getuid()}"
    scratch.mkdir(exist_ok=True)
    os.environ.setdefault("FINN_BUILD_DIR", str(scratch))
    # the file need not exist; without a path FINN creates ~/.finn
    os.environ.setdefault("FINN_SETTINGS", str(scratch / "settings.yaml"))
    from finn.util.logging import log

    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), cached_lookups(), concat_types():
            warnings.simplefilter("ignore")
            _layers_without_torch()
            importlib.import_module("finn.custom_op.fpgadataflow.reshape")
            yield
    finally:
        log.setLevel(level)


def _layers_without_torch() -> None:
    """Import FINN's layers with a temporary stand-in for torch, which would take seconds and 300 MB."""
    if "torch" in sys.modules or "finn.custom_op.fpgadataflow" in sys.modules:
        return
    functional = _module("functional", layer_norm=_layer_norm)
    neural = _module("nn", functional=functional)
    torch = _module("torch", nn=neural, from_numpy=np.asarray)
    stand_ins = {"torch": torch, "torch.nn": neural, "torch.nn.functional": functional}
    sys.modules.update(stand_ins)
    try:
        importlib.import_module("finn.custom_op.fpgadataflow")
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _module(name: str, **content: Any) -> types.ModuleType:
    module = types.ModuleType(f"stand_in_{name}")
    vars(module).update(content)
    return module


def _layer_norm(values: np.ndarray, shape: list[int], eps: float) -> np.ndarray:
    """torch.nn.functional.layer_norm over the last axis, without scale and bias."""
    exact = values.astype(np.float64)
    return (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + eps)


def builder_without_vivado() -> None:
    """Make `finn.builder` importable without Vivado: the names of its simulator interface become None."""
    from finn import xsi

    for name in xsi._LAZY_NAMES:
        if name not in vars(xsi):
            setattr(xsi, name, None)


def unestimated(layer: "HWCustomOp", part: str) -> tuple[str, ...]:
    """The resources (and "cycles") that a layer needs on a device but FINN has no estimate for."""
    from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp

    kind = layer.onnx_node.op_type
    inherited = {
        name: getattr(type(layer), f"{method}_estimation") is getattr(HWCustomOp, f"{method}_estimation")
        for name, method in (("lut", "lut"), ("bram18", "bram"), ("dsp", "dsp"))
    }
    floats = any(
        not layer.get_input_datatype(index).is_integer() for index in range(len(layer.onnx_node.input))
    )
    missing = {
        # every layer needs LUTs: 0 is not an estimate
        "lut": inherited["lut"] or kind in _PARTIAL_LUT or layer.lut_estimation(part) == 0,
        "bram18": inherited["bram18"] and kind.startswith(_BUFFERING),
        "dsp": inherited["dsp"] and floats and kind.startswith(_ARITHMETIC),
        "cycles": layer.get_exp_cycles() == 0,
    }
    return tuple(name for name, absent in missing.items() if absent)


def channels_layout(model: "ModelWrapper", tensor: str) -> str:
    """FINN's name of a tensor's layout: channels second in images, else last."""
    rank = len(model.get_tensor_shape(tensor))
    if rank != 4:
        return {1: "C", 2: "NC", 3: "NWC"}.get(rank, "")
    producer = model.find_producer(tensor)
    while producer is not None and producer.op_type not in (*_IMAGE_OPS, *_TOKEN_OPS):
        dynamic = [name for name in producer.input if model.get_initializer(name) is None]
        producer = model.find_producer(dynamic[0]) if dynamic else None
    return "NHWC" if producer is not None and producer.op_type in _TOKEN_OPS else "NCHW"


def set_threshold_layouts_(model: "ModelWrapper") -> None:
    """Set the layout of all thresholds by `channels_layout` and remove qonnx's guesses."""
    from qonnx.custom_op.registry import getCustomOp

    for node in model.get_nodes_by_op_type("MultiThreshold"):
        getCustomOp(node).set_nodeattr("data_layout", channels_layout(model, node.input[0]))
    for annotation in model.graph.quantization_annotation:
        kept = [each for each in annotation.quant_parameter_tensor_names if each.key != "tensor_layout"]
        del annotation.quant_parameter_tensor_names[:]
        annotation.quant_parameter_tensor_names.extend(kept)
