"""One block to reconstruct: its modules, captured inputs and outputs, and random source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brevitas_defakeq.reconstruct.capture import Captured, TensorStore


@dataclass(kw_only=True)
class BlockTask:
    """One block in M_q and in M_f, and the data it is reconstructed on.

    Attributes:
        quantized, reference: the block in M_q and in M_f.
        layers, reference_layers: its layers in each, same names, call order.
        quantized_data, reference_data: inputs of each; the latter with the target outputs.
        train, held_out: image indices.
        labels: 0/1 per image, or None.
        generator: the only source of randomness.
        observe: rows of the block's output and their images -> fake logit [N] and feature [N, C] of the
            detector, through the rest of M_f.
        store: for further tensors as large as the captured ones.
        bit_loss: what a bit of the codes adds to the error, relative to the target's variance.
    """

    name: str
    quantized: nn.Module
    reference: nn.Module
    layers: Mapping[str, nn.Module]
    reference_layers: Mapping[str, nn.Module]
    quantized_data: Captured
    reference_data: Captured
    train: Tensor
    held_out: Tensor
    labels: Tensor | None
    generator: torch.Generator
    observe: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    store: TensorStore
    bit_loss: float = 0.0

    def run(self, rows: Tensor) -> Tensor:
        """Output of the quantized block."""
        return self.quantized_data.run(self.quantized, rows)

    def logits(self, output: Tensor, images: Tensor) -> Tensor:
        """Fake logits [N] that the rest of M_f makes of the block's output for some images."""
        return self.observe(output, images)[0]

    def target_rows(self, images: Tensor) -> Tensor:
        """Output of the float block for some images."""
        return self.reference_data.rows(self.reference_data.targets, images)

    def draw_images(self, count: int) -> Tensor:
        """``count`` different training image indices."""
        return self.train[torch.randperm(len(self.train), generator=self.generator)[:count]]

    def input_rows(self, images: Tensor, kind: str) -> Tensor:
        """Block input of some images: of the "float" or "quantized" prefix, or "mixed" element by element."""
        reference = self.reference_data.rows(self.reference_data.inputs, images)
        if kind == "float":
            return reference
        quantized = self.quantized_data.rows(self.quantized_data.inputs, images)
        if kind == "quantized":
            return quantized
        return torch.where(_coins_like(quantized, self.generator), quantized, reference)


def _coins_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """True or False with equal chance for every element of a dense tensor; eight from a 64-bit draw."""
    words = torch.empty(-(-tensor.numel() // 8), dtype=torch.int64).random_(generator=generator)
    coins = words.view(torch.uint8).bitwise_and_(1).view(torch.bool)
    return coins.as_strided(tensor.shape, tensor.stride()).to(tensor.device)
