"""Small float networks that tests of several packages use."""

import timm
import torch
from torch import nn


class Net(nn.Module):
    """``flow(self, x)`` over the given parts: a module whose forward the test writes in one line."""

    def __init__(self, flow, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.flow = flow

    def forward(self, x):
        return self.flow(self, x)


class Residual(nn.Module):
    """``after(x + body(x))``."""

    def __init__(self, body: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.body, self.after = body, after

    def forward(self, x):
        return self.after(x + self.body(x))


def small_vit(size: int, *, depth=1, embed_dim=12, num_heads=2, std=0.3) -> nn.Module:
    """A ViT with class token, positions and patches of 8 pixels, [N, 3, size, size] -> [N, 1]."""
    torch.manual_seed(0)
    model = timm.create_model(
        "deit_tiny_patch16_224", img_size=size, patch_size=8, depth=depth, embed_dim=embed_dim,
        num_heads=num_heads, num_classes=1,
    )  # fmt: skip
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=std)
    return model.eval()
