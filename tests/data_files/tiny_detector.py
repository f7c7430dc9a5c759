"""A detector small enough to quantize in a second: two convolutions, one attention block, one head.

Tests import it from the working folder as a user's own code would be: ``tiny_detector:build``.
"""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

SIZE = 16


class TinyDetector(nn.Module):
    """Convolutions to 16 tokens of 16 channels, a transformer block, the mean, a head.

    `head` says what comes out: "one" or "two" logits, "dict" ({"cls", "feat"}) or "tuple" (logit, feature).
    """

    def __init__(self, head: str = "one") -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        )  # fmt: skip
        self.block = Block(16, num_heads=2, mlp_ratio=2.0, qkv_bias=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 2 if head == "two" else 1)
        self.kind = head

    def forward(self, images: Tensor):
        tokens = self.stem(images).flatten(2).transpose(1, 2)  # [N, 16, 16]
        feature = self.norm(self.block(tokens)).mean(dim=1)  # [N, 16]
        logits = self.head(feature)
        if self.kind == "dict":
            return {"cls": logits, "feat": feature}
        return (logits, feature) if self.kind == "tuple" else logits


def model(head: str = "one", seed: int = 0) -> TinyDetector:
    """Random weights that depend on the seed alone, BatchNorm statistics as after some training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = TinyDetector(head)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.3, 1.2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
    return made.eval()


def build(head: str = "one", seed: int = 0):
    """What ``defakeq quantize tiny_detector:build`` calls: the model and how images are prepared for it."""
    return model(head, seed), {"input_size": SIZE, "mean": 0.5, "std": 0.25}


def other():
    """Another detector, whose checkpoint does not fit."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.Flatten(), nn.Linear(64, 1))
