"""Quantized networks in the shape that the FINN profile promises, made with Brevitas layers and no more.

Every builder returns a module in evaluation mode whose first layer quantizes the image; ``profile`` exports
it and cuts that quantizer off, so that the graph takes integers, as `defakeq export --format finn` writes it.
"""

import warnings
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.export import export_qonnx
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Uint8ActPerTensorFloat
from torch import Tensor, nn

WEIGHT = {"weight_quant": Int8WeightPerChannelFloat, "weight_narrow_range": True}


def conv(inputs, outputs, kernel=3, stride=1, groups=1, bits=4, bias=False):
    """A convolution with signed narrow weights, a scale for every channel."""
    return qnn.QuantConv2d(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias,
        weight_bit_width=bits, **WEIGHT,
    )  # fmt: skip


def linear(inputs, outputs, bits=4, bias=True):
    return qnn.QuantLinear(inputs, outputs, bias=bias, weight_bit_width=bits, **WEIGHT)


def relu(bits=4):
    return qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=bits)


def identity(bits=8):
    return qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=bits)


class Residual(nn.Module):
    """Expand, depthwise, project, add: both branches through one quantizer, so that they share a scale."""

    def __init__(self, channels, hidden, bits):
        super().__init__()
        self.shared = identity(bits[-1])
        self.body = nn.Sequential(
            conv(channels, hidden, 1, bits=bits[0]), nn.BatchNorm2d(hidden), relu(4),
            conv(hidden, hidden, 3, groups=hidden, bits=bits[1]), nn.BatchNorm2d(hidden), relu(6),
            conv(hidden, channels, 1, bits=bits[2]), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, inputs):
        inputs = self.shared(inputs)
        return inputs + self.shared(self.body(inputs))


class Cnn(nn.Module):
    """Widths 2 to 8: stem, depthwise residual blocks, pooling with a quantizer behind it, head."""

    def __init__(self, channels=8):
        super().__init__()
        self.stem = nn.Sequential(
            identity(8), conv(3, channels, 3, stride=2, bits=8), nn.BatchNorm2d(channels), relu(8)
        )
        self.first = Residual(channels, 2 * channels, (4, 3, 2, 4))
        self.between = nn.Sequential(
            relu(4),
            conv(channels, 2 * channels, 3, stride=2, bits=3, bias=True),
            nn.BatchNorm2d(2 * channels),
        )
        self.second = Residual(2 * channels, 2 * channels, (2, 6, 4, 6))
        self.last = nn.Sequential(relu(4), nn.AdaptiveAvgPool2d(1), identity(8), nn.Flatten())
        self.head = linear(2 * channels, 1, bits=8)

    def forward(self, image):
        return self.head(self.last(self.second(self.between(self.first(self.stem(image))))))


class Attention(nn.Module):
    def __init__(self, width, heads, bits):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.qkv = nn.ModuleList(linear(width, width, bits=bits) for _ in range(3))
        self.after = nn.ModuleList(identity(8) for _ in range(3))
        self.weights = qnn.QuantIdentity(act_quant=Uint8ActPerTensorFloat, bit_width=8)
        self.mixed, self.proj = identity(8), linear(width, width, bits=bits)

    def forward(self, tokens):
        count, width = tokens.shape[1:]
        query, key, value = (
            after(layer(tokens)).reshape(1, count, self.heads, self.size).permute(0, 2, 1, 3)
            for layer, after in zip(self.qkv, self.after, strict=True)
        )
        scores = query @ key.transpose(2, 3) * self.size**-0.5
        mixed = self.weights(scores.softmax(-1)) @ value
        return self.proj(self.mixed(mixed.permute(0, 2, 1, 3).reshape(1, count, width)))


class Block(nn.Module):
    def __init__(self, width, heads, bits, activation):
        super().__init__()
        self.shared_a, self.shared_b = identity(8), identity(8)
        self.norm_a, self.norm_b = nn.LayerNorm(width), nn.LayerNorm(width)
        self.normed_a, self.normed_b = identity(8), identity(8)
        self.attention = Attention(width, heads, bits[0])
        act = [nn.GELU(), identity(8)] if activation == "gelu" else [relu(8)]
        self.mlp = nn.Sequential(
            linear(width, 2 * width, bits=bits[1]), *act, linear(2 * width, width, bits=bits[2])
        )

    def forward(self, tokens):
        tokens = self.shared_a(tokens)
        tokens = tokens + self.shared_a(self.attention(self.normed_a(self.norm_a(tokens))))
        tokens = self.shared_b(tokens)
        return tokens + self.shared_b(self.mlp(self.normed_b(self.norm_b(tokens))))


class Vit(nn.Module):
    """Patches, class token, positions, blocks, LayerNorm, head on the class token."""

    def __init__(self, size=16, patch=8, width=16, heads=2, depth=1, activation="gelu"):
        super().__init__()
        count = (size // patch) ** 2
        self.image = identity(8)
        self.patches = qnn.QuantConv2d(
            3, width, patch, stride=patch, bias=True, weight_bit_width=8, **WEIGHT,
        )  # fmt: skip
        self.embedded = identity(8)
        self.token = nn.Parameter(0.5 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.5 * torch.randn(1, count + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, (4, 3, 4), activation) for _ in range(depth)))
        self.norm, self.normed = nn.LayerNorm(width), identity(8)
        self.head = linear(width, 1, bits=8)

    def forward(self, image):
        tokens = self.patches(self.image(image)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token, tokens], 1)
        tokens = self.embedded(tokens) + self.embedded(self.positions)
        return self.head(self.normed(self.norm(self.blocks(tokens)))[:, 0])


def trained(model: nn.Module, size: int, seed: int = 0) -> nn.Module:
    """Statistics from random images: BatchNorm and quantizers come to rest; weights stay random."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "norm" in name.lower() and parameter.dim() == 1:
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    model.train()
    with torch.no_grad():
        for _ in range(12):
            model(torch.randn(1 if isinstance(model, Vit) else 4, 3, size, size, generator=generator))
    return model.eval()


def image(size: int, seed: int = 1) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def exported(model: nn.Module, size: int, path: Path) -> Path:
    """QONNX of the whole network, cleaned."""
    from qonnx.util.cleanup import cleanup

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_qonnx(model, args=image(size), export_path=str(path), opset_version=20, dynamo=False)
    cleanup(str(path), out_file=str(path))
    return path


def profile(model: nn.Module, size: int, path: Path) -> tuple[Path, float]:
    """The graph without its first quantizer: integers in; and that quantizer's scale."""
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper

    wrapped = ModelWrapper(str(exported(model, size, path)))
    graph = wrapped.graph
    quant = wrapped.find_consumers(graph.input[0].name)[0]
    assert quant.op_type == "Quant"
    scale = wrapped.get_initializer(quant.input[1])
    mul = wrapped.make_new_valueinfo_name()
    wrapped.set_initializer(mul, np.asarray(scale, np.float32))
    import onnx

    node = onnx.helper.make_node("Mul", [graph.input[0].name, mul], [quant.output[0]])
    graph.node.insert(0, node)
    graph.node.remove(quant)
    wrapped.set_tensor_datatype(graph.input[0].name, DataType["INT8"])
    wrapped.save(str(path))
    return path, float(scale)


#: Expansion, channels, blocks and first stride of the stages of MobileNetV2 at width 0.35.
MOBILENET_035 = (
    (1, 8, 1, 1),
    (6, 8, 2, 2),
    (6, 16, 3, 2),
    (6, 24, 4, 2),
    (6, 32, 3, 1),
    (6, 56, 3, 2),
    (6, 112, 1, 1),
)


class Inverted(nn.Module):
    """A MobileNetV2 block; ``shared`` quantizes what it adds and its output: one scale a stage."""

    def __init__(self, inputs, outputs, expansion, stride, shared, bits):
        super().__init__()
        hidden, self.added = inputs * expansion, stride == 1 and inputs == outputs
        expand = [conv(inputs, hidden, 1, bits=bits[0]), nn.BatchNorm2d(hidden), nn.ReLU6(), relu(8)]
        self.body = nn.Sequential(
            *(expand if expansion > 1 else []), conv(hidden, hidden, 3, stride, hidden, bits[1]),
            nn.BatchNorm2d(hidden), nn.ReLU6(), relu(8),
            conv(hidden, outputs, 1, bits=bits[2]), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shared = shared

    def forward(self, inputs):
        found = self.shared(self.body(inputs))
        return self.shared(inputs + found) if self.added else found


class MobileNetV2(nn.Module):
    """mobilenetv2_035: 16 channels after the stem, 17 blocks, 1280 features, one logit."""

    def __init__(self):
        super().__init__()
        widths = ((4, 6, 4), (3, 8, 4), (4, 4, 3), (2, 4, 4))
        self.stem = nn.Sequential(
            identity(8), conv(3, 16, 3, 2, bits=8), nn.BatchNorm2d(16), nn.ReLU6(), relu(8)
        )
        blocks, inputs = [], 16
        for expansion, outputs, count, first in MOBILENET_035:
            shared = identity(8)
            for index in range(count):
                stride = first if index == 0 else 1
                blocks.append(Inverted(inputs, outputs, expansion, stride, shared, widths[len(blocks) % 4]))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(
            conv(inputs, 1280, 1, bits=4), nn.BatchNorm2d(1280), nn.ReLU6(), relu(8), nn.AdaptiveAvgPool2d(1),
            identity(8), nn.Flatten(),
        )  # fmt: skip
        self.head = linear(1280, 1, bits=8)

    def forward(self, image):
        return self.head(self.last(self.blocks(self.stem(image))))


def plain(widths=(16, 16, 32, 32, 32, 64, 64, 64, 64)):
    """Nine convolutions 3x3 with ReLU, a max pooling behind every third, as in ClassNSeg's encoder."""
    layers, inputs = [identity(8)], 3
    for index, outputs in enumerate(widths):
        layers += [
            conv(inputs, outputs, 3, bits=(8, 4, 3)[index % 3], bias=True),
            nn.BatchNorm2d(outputs),
            relu(4),
        ]
        if index % 3 == 2:
            layers.append(nn.MaxPool2d(2))
        inputs = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), identity(8), nn.Flatten(), linear(inputs, 1, bits=8)
    )
