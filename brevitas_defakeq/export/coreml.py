"""Core ML: an ``.mlpackage`` for iOS 18 and macOS 15, written on any system, run on Apple's only.

Activations keep the run's own grids. Weights are codes with their own zero points: up to 4 bits are Core ML's
4-bit type, others bytes; where a table of codes is smaller, 1.6 to 3 bits are looked up with 2 or 3, and
5 and 6 with 6. Core ML computes in half precision, which holds the codes and their scales.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from brevitas_defakeq.export.integer_activations import IntegerActivation
from brevitas_defakeq.export.integer_modules import LogitNetwork, RuntimeLayers
from brevitas_defakeq.export.integer_weights import IntegerWeight
from brevitas_defakeq.export.mobile import MobileExporter
from brevitas_defakeq.export.weight_modules import DequantizedWeight, centred_weight, channels_first
from brevitas_defakeq.quant.widths import width_of

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Operation
    from coremltools.models import MLModel

#: Bits that an index into a table of codes may have; 4-bit codes have a type of their own.
_INDEX_BITS = (2, 3, 6)
#: Added to codes that go into a table: the converter stores smaller ones as 4 bits.
_LIFT = 16


def own_zero_points(weight: IntegerWeight) -> DequantizedWeight:
    """Unsigned codes; restored channels need signed bytes."""
    if weight.restored.size:
        return centred_weight(weight)
    lift = _LIFT if _pays(weight) else 0
    codes = channels_first(weight, weight.codes + np.uint8(lift))
    return DequantizedWeight(codes, weight.scale, weight.zero_point + lift)


def _pays(weight: IntegerWeight) -> bool:
    """Whether indices and a table of bytes for each output channel are smaller than 4- or 8-bit codes."""
    container = width_of(weight.bits).container_bits
    bits = None if container == 4 else next((bits for bits in _INDEX_BITS if bits >= container), None)
    inputs = weight.codes.size / max(1, len(weight.scale))
    return bits is not None and inputs * (4 if bits < 4 else 8) / 8 > inputs * bits / 8 + 2**bits


def _write(
    modules: LogitNetwork, weights: Mapping[str, IntegerWeight], example: Tensor, path: Path
) -> Counter[str]:
    """Write the package for one image; how often each operator is in it."""
    import coremltools as ct
    from coremltools.optimize import coreml

    program = _without_aliases(torch.export.export(modules, (example,)).run_decompositions({}))
    model = ct.convert(
        program, inputs=[ct.TensorType(name="image", shape=tuple(example.shape))], convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS18, skip_model_load=True,
    )  # fmt: skip
    tables = coreml.OptimizationConfig()
    for operator in _operators(model):
        if operator.op_type == "constexpr_blockwise_shift_scale" and _is_lifted(operator.data.val):
            unique = coreml.OpPalettizerConfig(mode="unique", weight_threshold=0)
            tables.set_op_name(operator.name, unique)
    model = coreml.palettize_weights(model, tables, joint_compression=True)
    model.save(str(path))
    return Counter(operator.op_type for operator in _operators(model) if operator.op_type != "const")


def _operators(model: "MLModel") -> list["Operation"]:
    return list(model._mil_program.functions["main"].operations)


def _is_lifted(codes: np.ndarray) -> bool:
    return codes.dtype == np.uint8 and codes.min() >= _LIFT and codes.max() < _LIFT + 64


def _without_aliases(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Drop operators that hand their input on, which the converter does not know."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    program.graph_module.recompile()
    return program


COREML = MobileExporter(
    format="coreml", file="model.mlpackage", write=_write,
    layers=RuntimeLayers(
        linear_input=IntegerActivation, linear_weight=own_zero_points, conv_weight=own_zero_points
    ),
    version=lambda: "18.0",  # the oldest iOS that reads the package
)  # fmt: skip
