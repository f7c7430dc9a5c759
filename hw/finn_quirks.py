"""FINN+ 1.6.1 as it is: every oddity that this folder works round, what it is, and why the way is right.

Other modules call FINN as its documentation says; what differs is here:

* Nothing of FINN runs before its settings exist, and making them leaves a folder in the user's home. It logs
  every near miss of a pattern, and qonnx warns of every guess, hundreds of lines a build: `quiet_finn`.
* Its LayerNorm imports torch for one function, and all other layers come with it: `_layers_without_torch`.
* Its Reshape layer is the one that registers itself only when someone imports it: `quiet_finn`.
* `finn.builder` imports the simulator interface of Vivado, whose module refuses without XILINX_VIVADO:
  `builder_without_vivado`. `build_dataflow_cfg` returns -1 on failure where it should raise, and opens a
  debugger: the written run script sets `enable_build_pdb_debug=False` and turns -1 into a status.
* qonnx looks everything up by scanning lists: `hw.cached_lookups` (MobileNetV2: seven minutes of passes become one).
* qonnx guesses layouts from ranks and spreads its guesses: tokens become NHWC, images behind quantized
  weights too, and thresholds look for channels on a wrong axis: `channels_layout`, `set_threshold_layouts_`.
* `SetFolding` knows no HWSoftmax, Pad1D, SelectToken, and no elementwise RTL: `FOLDED_HERE`, `hw.folding`.
* Estimators: some layers inherit the base class's 0, the RTL products return a plain 0 LUT: `unestimated`.
* The builder makes a `Requant` of every quantizer above 8 bits, which loses its clip: `hw.steps.map_to_hardware`
  makes none, thresholds do it all, and the hardware graph is run against the profile each time.
* `step_resnet_streamline` never ends: its moves past forks undo its moves past joins. `hw.steps.fixpoint`
  repeats a list of passes until the graph rests, and says so when it does not.
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
from pathlib import Path

import numpy as np

from brevitas_defakeq.utils.errors import UserError
from hw.cached_lookups import cached_lookups

#: Layers that multiply or add floating-point numbers, or scale: they take DSPs whatever the estimator says.
_ARITHMETIC = ("LayerNorm", "HWSoftmax", "Requant", "ElementwiseMul", "ElementwiseAdd", "ElementwiseSub")
#: Layers that keep much of a frame: they take block RAM whatever the estimator says.
_BUFFERING = ("LayerNorm", "HWSoftmax", "InnerShuffle", "OuterShuffle", "GlobalAccPool")
#: Layers that FINN's `SetFolding` leaves alone, and the attribute that speeds them up.
FOLDED_HERE = {
    "HWSoftmax_hls": "SIMD", "HWSoftmax_rtl": "SIMD", "LayerNorm_hls": "SIMD", "Pad1D_rtl": "SIMD",
    "SelectToken_rtl": "SIMD", "ElementwiseMul_rtl": "PE", "ElementwiseAdd_rtl": "PE",
    "ElementwiseSub_rtl": "PE",
}  # fmt: skip
#: RTL whose LUT estimator returns 0, or counts memories and leaves out the comparators.
_PARTIAL_LUT = ("MVAU_rtl", "VVAU_rtl", "Thresholding_rtl")
#: Layers that give images, channels second, and layers that give tokens or heads, channels last.
_OF_IMAGES = ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool")
_OF_TOKENS = ("MatMul", "Reshape", "Transpose", "Softmax", "LayerNormalization")
#: Layers that exist for Versal devices alone, and those whose RTL does while HLS goes everywhere.
VERSAL_ONLY = ("PWPolyF",)
VERSAL_RTL = ("VVAU", "LayerNorm", "HWSoftmax", "ElementwiseAdd", "ElementwiseSub", "ElementwiseMul")
#: Activations up to this width become thresholds: 8 bits, one more for a folded zero point.
WIDEST_THRESHOLDS = 9


def require_finn() -> None:
    """Raises UserError where the `fpga` extra is not installed."""
    missing = [name for name in ("qonnx", "finn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} cannot be imported; install the extra in an environment of its own: "
            'pip install "brevitas-defakeq[fpga]"'
        )


@contextlib.contextmanager
def quiet_finn() -> Iterator[None]:
    """Within the context FINN has settings and a folder for its scratch files, and keeps silent."""
    require_finn()
    scratch = Path(tempfile.gettempdir()) / f"defakeq_finn_{os.getuid()}"
    scratch.mkdir(exist_ok=True)
    os.environ.setdefault("FINN_BUILD_DIR", str(scratch))
    # a file that need not exist: without it FINN makes ~/.finn
    os.environ.setdefault("FINN_SETTINGS", str(scratch / "settings.yaml"))
    from finn.util.logging import log

    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), cached_lookups():
            warnings.simplefilter("ignore")
            _layers_without_torch()
            importlib.import_module("finn.custom_op.fpgadataflow.reshape")
            yield
    finally:
        log.setLevel(level)


def _layers_without_torch() -> None:
    """Import FINN's layers with a stand-in for torch, which goes again: it would cost seconds and 300 MB."""
    if "torch" in sys.modules or "finn.custom_op.fpgadataflow" in sys.modules:
        return
    torch, neural, functional = (
        types.ModuleType(f"stand_in_{name}") for name in ("torch", "nn", "functional")
    )
    torch.nn, neural.functional = neural, functional
    torch.from_numpy, functional.layer_norm = np.asarray, _layer_norm
    stand_ins = {"torch": torch, "torch.nn": neural, "torch.nn.functional": functional}
    sys.modules.update(stand_ins)
    try:
        importlib.import_module("finn.custom_op.fpgadataflow")
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _layer_norm(values: np.ndarray, shape: list[int], eps: float) -> np.ndarray:
    """torch.nn.functional.layer_norm over the last axis, without scale and bias."""
    exact = values.astype(np.float64)
    return (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + eps)


def builder_without_vivado() -> None:
    """Makes `finn.builder` importable where Vivado is not: its simulator interface gets stand-ins."""
    from finn import xsi

    for name in xsi._LAZY_NAMES:
        if name not in vars(xsi):
            setattr(xsi, name, None)


def unestimated(layer, part: str) -> tuple[str, ...]:
    """What a layer (HWCustomOp) certainly takes on a device and FINN has no estimator for."""
    from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp

    kind = layer.onnx_node.op_type
    inherited = {
        name: getattr(type(layer), f"{method}_estimation") is getattr(HWCustomOp, f"{method}_estimation")
        for name, method in (("lut", "lut"), ("bram18", "bram"), ("dsp", "dsp"))
    }
    floats = any(
        not layer.get_input_datatype(place).is_integer() for place in range(len(layer.onnx_node.input))
    )
    missing = {
        # nothing is made without LUTs: 0 is no estimate, wherever it comes from
        "lut": inherited["lut"] or kind in _PARTIAL_LUT or layer.lut_estimation(part) == 0,
        "bram18": inherited["bram18"] and kind.startswith(_BUFFERING),
        "dsp": inherited["dsp"] and floats and kind.startswith(_ARITHMETIC),
        "cycles": layer.get_exp_cycles() == 0,
    }
    return tuple(name for name, absent in missing.items() if absent)


def channels_layout(model, tensor: str) -> str:
    """Where the channels of a tensor are: behind layers of images second, elsewhere last."""
    rank = len(model.get_tensor_shape(tensor))
    if rank != 4:
        return {1: "C", 2: "NC", 3: "NWC"}.get(rank, "")
    producer = model.find_producer(tensor)
    while producer is not None and producer.op_type not in (*_OF_IMAGES, *_OF_TOKENS):
        dynamic = [name for name in producer.input if model.get_initializer(name) is None]
        producer = model.find_producer(dynamic[0]) if dynamic else None
    return "NHWC" if producer is not None and producer.op_type in _OF_TOKENS else "NCHW"


def set_threshold_layouts_(model) -> None:
    """Thresholds look for channels where `channels_layout` says; what qonnx guessed is dropped."""
    from qonnx.custom_op.registry import getCustomOp

    for node in model.get_nodes_by_op_type("MultiThreshold"):
        getCustomOp(node).set_nodeattr("data_layout", channels_layout(model, node.input[0]))
    for annotation in model.graph.quantization_annotation:
        kept = [each for each in annotation.quant_parameter_tensor_names if each.key != "tensor_layout"]
        del annotation.quant_parameter_tensor_names[:]
        annotation.quant_parameter_tensor_names.extend(kept)
