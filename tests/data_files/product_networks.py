"""Small networks whose products are computed by no layer, as people write them."""

import torch
from torch import nn
from torch.nn import functional as F


class OwnConvolution(nn.Module):
    """A convolution that is no ``nn.Conv2d``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 3, 3, 3) * 0.3), nn.Parameter(torch.randn(8))

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, stride=2, padding=1)


class BorrowedWeights(nn.Module):
    """Attention with the weight of a layer that is never called and biases of its own, as BEiT has it."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.q_bias, self.v_bias = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))

    def forward(self, x):
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        q, k, v = F.linear(x, weight=self.qkv.weight, bias=bias).unflatten(-1, (2, -1)).chunk(3, dim=-1)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ProductNetwork(nn.Module):
    """Images [N, 3, 16, 16] to logits [N, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = OwnConvolution(), nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.down = nn.Conv2d(8, 16, 4, stride=4)
        self.borrowed, self.attention = BorrowedWeights(), nn.MultiheadAttention(16, 4)
        self.matrix = nn.Parameter(torch.randn(16, 12) * 0.3)
        self.along = nn.Conv1d(12, 8, 3, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, images):
        x = self.down(F.relu(self.up(F.relu(self.norm(self.stem(images))))))
        tokens = x.flatten(2).transpose(1, 2)  # [N, 16, 16]
        tokens = (tokens + self.borrowed(tokens)).transpose(0, 1)
        tokens = (tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]).transpose(0, 1)
        return self.head(torch.tanh(self.along((tokens @ self.matrix).transpose(1, 2))).mean(2))


def build() -> tuple[nn.Module, dict]:
    """What ``load`` builds again: the network and how images are prepared for it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ProductNetwork()
        model.norm.running_mean.normal_(0, 0.3)
        model.norm.running_var.uniform_(0.5, 2)
    return model.eval(), {"input_size": 16, "mean": 0.5, "std": 0.25}
