"""Train a network together with its bit-widths: ``python examples/train_widths.py``, a few seconds."""

import brevitas.nn as qnn
import torch
from sklearn.datasets import make_moons
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.haq.relaxed import horizontal_loss
from brevitas_defakeq.haq.sensitivity import haq_costs
from brevitas_defakeq.haq.solver import solve
from brevitas_defakeq.quant.bit_width import relaxed, relaxed_bits, set_bits_
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import HAQActPerTensorFloat, HAQWeightPerChannelFloat

WEIGHTS = {"weight_quant": HAQWeightPerChannelFloat, "weight_bit_width": 8}
INPUTS = {"input_quant": HAQActPerTensorFloat, "input_bit_width": 8}
CANDIDATES, AVERAGE_BITS = (2, 3, 4, 6, 8), 3.5


def main(*, steps: int = 200) -> None:
    """Two moons, three layers, eq. 6 as a second loss that holds the average width at the budget."""
    torch.manual_seed(0)
    points, labels = (torch.tensor(part) for part in make_moons(300, noise=0.05, random_state=0))
    points = points.float()
    layers = [
        qnn.QuantLinear(2, 24, **WEIGHTS),
        qnn.QuantLinear(24, 24, **WEIGHTS, **INPUTS),
        qnn.QuantLinear(24, 2, **WEIGHTS, **INPUTS),
    ]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    quantizers = [weight_quantizer(layer) for layer in layers]
    sizes = torch.tensor([float(layer.weight.numel()) for layer in layers])
    importance = torch.tensor([2.0, 0.4, 0.6])  # S_l; here made up, eq. 4 gives it for a trained network
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    with relaxed(model):  # the widths are continuous inside
        for _ in range(steps):
            bits = torch.stack([relaxed_bits(quantizer) for quantizer in quantizers])
            budget, _ = horizontal_loss(bits, importance, sizes, AVERAGE_BITS, error_base=2.0, penalty=10.0)
            optimizer.zero_grad()
            (F.cross_entropy(model(points), labels) + 0.5 * budget).backward()
            optimizer.step()
    costs = haq_costs(dict(enumerate(importance.tolist())), CANDIDATES, 2.0)
    chosen = solve(costs, dict(enumerate(map(int, sizes))), CANDIDATES, AVERAGE_BITS)  # never above it
    for index, (layer, quantizer) in enumerate(zip(layers, quantizers, strict=True)):
        set_bits_(quantizer, chosen[index])
        quantizer.search_range_(layer.weight)
    print("learned:", [round(width, 2) for width in bits.tolist()], "chosen:", list(chosen.values()))
    accuracy = (model.eval()(points).argmax(1) == labels).float().mean()
    print(f"accuracy: {100 * float(accuracy):.1f} %")


if __name__ == "__main__":
    main()
