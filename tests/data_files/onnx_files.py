"""Small networks and their ONNX files, for the tests of ONNX import."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 16


class Convolutions(nn.Module):
    """A residual block with BatchNorm, a squeeze, uneven strides."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.body = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 8, 1)
        )
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.body(x)
        y = y * self.excite(F.silu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        return self.head(self.pool(x + y).mean((2, 3)))


class Attention(nn.Module):
    """Attention with qkv in one layer; ``written`` out, or by torch's function."""

    def __init__(self, width: int, written: bool) -> None:
        super().__init__()
        self.qkv, self.proj, self.written = nn.Linear(width, 3 * width), nn.Linear(width, width), written

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        if self.written:
            x = ((q * (width // 2) ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, width: int, written: bool) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, written)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 24), nn.Linear(24, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """A ViT of two blocks with a class token."""

    def __init__(self, written: bool = True) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.cls_token, self.pos_embed = (
            nn.Parameter(torch.randn(1, 1, 12)),
            nn.Parameter(torch.randn(1, 17, 12)),
        )
        self.blocks = nn.Sequential(Block(12, written), Block(12, written))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """With weights and statistics of their own, so that scores spread."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator)
            fan = max(tensor[0].numel(), 1) if tensor.dim() > 1 else 1
            gains = name.endswith("var") or ("norm" in name or ".1." in name) and name.endswith("weight")
            tensor.copy_(values.abs() + 0.5 if gains and tensor.dim() == 1 else values / fan**0.5)
    return network.eval()


def write(
    network: nn.Module, path: Path, opset: int, *, dynamo: bool, fixed: bool = False, fold: bool = True,
    size: int = SIZE,
) -> Path:  # fmt: skip
    """Export by torch's older or newer exporter, for any batch or for one image."""
    example = torch.randn(1 if fixed else 2, 3, size, size)
    names = {"input_names": ["pixels"], "output_names": ["scores"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = None if fixed else ({0: torch.export.Dim("n", min=1)},)
            torch.onnx.export(
                network, (example,), path, dynamo=True, opset_version=opset, dynamic_shapes=shapes,
                external_data=False, verbose=False, **names,
            )  # fmt: skip
        else:
            axes = {} if fixed else {"pixels": {0: "n"}, "scores": {0: "n"}}
            torch.onnx.export(
                network, (example,), path, dynamo=False, opset_version=opset, dynamic_axes=axes,
                do_constant_folding=fold,
                training=torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE, **names,
            )  # fmt: skip
    return path


def in_half(path: Path) -> Path:
    """The file in half precision, input and output too."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
            )
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
                values = numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    onnx.save(model, path)
    return path


def graph_of(
    nodes: list, weights: dict[str, np.ndarray], *, shape=("n", 3, SIZE, SIZE), outputs=("scores",),
    opset: int = 17, imports=(),
) -> ModelProto:  # fmt: skip
    """A model of hand-made nodes from "pixels"."""
    graph = helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in imports)]
    return helper.make_model(graph, opset_imports=opsets)
