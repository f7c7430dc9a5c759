"""torchao's configurations for a processor: they take ``nn.Linear`` alone, unless asked to take more.

The file is the state dictionary, as torchao's documentation saves it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.exchange import Given, Made, Peer, serve

_BATCH = 64


def quantized(
    given: Given, config: Any, weights: str, activations: str, takes: Callable[[Any], bool] | None = None
) -> Made:
    """One configuration on the layers that it takes by default, or those that ``takes`` names."""
    import torch
    from torch import nn
    from torchao.quantization import quantize_

    model = given.module()
    before = {
        name: module.weight for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }  # fmt: skip
    if takes is None:
        quantize_(model, config)
    else:
        quantize_(model, config, filter_fn=lambda module, name: takes(module))
    after = dict(model.named_modules())
    changed = [name for name in before if after[name].weight is not before[name]]
    torch.save(model.state_dict(), given.out / "model.pt")
    images = given.test()
    with torch.no_grad():
        logits = np.concatenate([
            model(torch.from_numpy(images[at : at + _BATCH].copy())).numpy()[:, 0]
            for at in range(0, len(images), _BATCH)
        ])  # fmt: skip
    note = f"{len(changed)} of {len(before)} layers are quantized, the others stay in float"
    return Made(["model.pt"], weights, activations, "torch", logits, note)


def int8(given: Given) -> Made:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    config = Int8DynamicActivationInt8WeightConfig()
    return quantized(given, config, "8 per channel, matrices only", "8, range of each token")


def int8_weights(given: Given) -> Made:
    from torchao.quantization import Int8WeightOnlyConfig

    return quantized(given, Int8WeightOnlyConfig(), "8 per channel, matrices only", "float")


def int4_weights(given: Given) -> Made:
    import torch
    from torchao.quantization import IntxWeightOnlyConfig, PerGroup
    from torchao.quantization.quantize_.workflows import IntxChooseQParamsAlgorithm

    config = IntxWeightOnlyConfig(
        weight_dtype=torch.int4, granularity=PerGroup(32),
        intx_choose_qparams_algorithm=IntxChooseQParamsAlgorithm.HQQ_SCALE_ONLY,
    )  # fmt: skip
    return quantized(given, config, "4 in groups of 32, matrices only, a byte each", "float")


def int4_convolutions(given: Given) -> Made:
    """Matrices and the convolutions that are not depthwise."""
    import torch
    from torch import nn
    from torchao.quantization import IntxWeightOnlyConfig, PerAxis

    def takes(module: nn.Module) -> bool:
        return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)

    config = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerAxis(0))
    return quantized(given, config, "4 per channel, a byte each", "float", takes)


PEER = Peer(
    ("torchao", "torch"),
    {
        "int8": int8, "int8_weights": int8_weights, "int4_weights": int4_weights,
        "int4_convolutions": int4_convolutions,
    },
)  # fmt: skip

if __name__ == "__main__":
    serve("torchao", PEER)
