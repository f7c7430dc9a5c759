"""ExecuTorch: a ``.pte`` whose layers run in XNNPACK.

Convolutions work on the run's own grids. XNNPACK's Linear with integer weights and a float result takes
inputs that are quantized token by token, so there only the weights are the run's integers.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from brevitas_defakeq.export.agreement import Run
from brevitas_defakeq.export.export_card import package_version
from brevitas_defakeq.export.integer_activations import TokenActivation
from brevitas_defakeq.export.integer_modules import LogitNetwork, RuntimeLayers
from brevitas_defakeq.export.integer_weights import IntegerWeight
from brevitas_defakeq.export.mobile import MobileExporter
from brevitas_defakeq.export.weight_modules import centred_weight


def _write(
    modules: LogitNetwork, weights: Mapping[str, IntegerWeight], example: Tensor, path: Path
) -> Counter[str]:
    """Write the file for one image; how often each operator is left outside XNNPACK."""
    import executorch.kernels.quantized  # noqa: F401 for what XNNPACK does not take
    from executorch.backends.xnnpack.partition import config
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackFloatingPointPartitioner,
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower

    # With all configurations at once, the partitioner does not end at two residual sums in a row, and the
    # runtime fails at quantizers outside a partition.
    products = [config.ConvolutionConfig, config.LinearConfig, config.AddmmConfig, config.MMConfig]
    partitioners = [XnnpackPartitioner(configs=products), XnnpackFloatingPointPartitioner()]
    program = torch.export.export(modules, (example,))
    lowered = to_edge_transform_and_lower(program, partitioner=partitioners)
    targets = [node.target for node in lowered.exported_program().graph.nodes if node.op == "call_function"]
    names = Counter(getattr(target, "__name__", str(target)) for target in targets)
    names.pop("getitem", None)
    path.write_bytes(lowered.to_executorch().buffer)
    return names


def _open(path: Path) -> Run:
    """The file in ExecuTorch's runtime, image by image."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")

    def score(images: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [method.execute([torch.from_numpy(image[None])])[0].numpy() for image in images]
        )

    return score


EXECUTORCH = MobileExporter(
    format="executorch", file="model.pte", write=_write, open=_open,
    layers=RuntimeLayers(
        linear_input=TokenActivation, linear_weight=centred_weight, conv_weight=centred_weight
    ),
    version=partial(package_version, "executorch"),
)  # fmt: skip
