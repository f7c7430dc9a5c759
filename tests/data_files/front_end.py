"""A detector behind a fixed front end of high-pass filters, as forensic detectors have it (SRM)."""

import torch
from torch import Tensor, nn

SIZE = 24
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Second-order, square 3 x 3 and cross residuals, integers over a divisor, as in the steganalysis rich model.
_KERNELS = (
    ((0, 0, 0), (1, -2, 1), (0, 0, 0)),
    ((-1, 2, -1), (2, -4, 2), (-1, 2, -1)),
    ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
)
_DIVISORS = (2.0, 4.0, 4.0)


class HighPass(nn.Module):
    """Residuals of each colour, [N, 9, H, W], cut off at plus and minus ``limit``: the noise of an image."""

    def __init__(self, limit: float = 0.1) -> None:
        super().__init__()
        self.filters, self.limit = nn.Conv2d(3, 9, 3, padding=1, groups=3, bias=False), limit
        kernels = torch.tensor(_KERNELS) / torch.tensor(_DIVISORS).view(3, 1, 1)
        self.filters.weight.data = kernels.unsqueeze(1).repeat(3, 1, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.filters(images).clamp(-self.limit, self.limit)


class ForensicDetector(nn.Module):
    """The energy of the residuals: rectified with both signs, mixed, averaged. Noisy images score high."""

    def __init__(self) -> None:
        super().__init__()
        self.srm = HighPass()
        self.signs = nn.Conv2d(9, 18, 1, bias=False)
        self.signs.weight.data = torch.cat([torch.eye(9), -torch.eye(9)]).view(18, 9, 1, 1)
        self.mix = nn.Conv2d(18, 16, 3, stride=2)
        self.mix.weight.data.abs_()
        self.relu, self.pool = nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, 1)
        self.head.weight.data.abs_().mul_(20)
        self.head.bias.data.fill_(-5)

    def forward(self, images: Tensor) -> Tensor:
        rectified = self.relu(self.signs(self.srm(images)))
        return self.head(self.pool(self.relu(self.mix(rectified))).flatten(1))


def model(seed: int = 0) -> ForensicDetector:
    """Random weights that depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ForensicDetector().eval()


def build(seed: int = 0):
    """For the command line: ``front_end:build``."""
    return model(seed), {"input_size": SIZE, "mean": MEAN, "std": STD}


def noisy_images(count: int, seed: int = 0) -> Tensor:
    """Smooth images [N, 3, SIZE, SIZE] of 8-bit pixels, normalized, each with noise of up to two levels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    strength = torch.rand(count, 1, 1, 1, generator=generator) * 2
    noise = torch.randn(count, 3, SIZE, SIZE, generator=generator) * strength
    pixels = (smooth * 200 + 25 + noise).round().clamp(0, 255) / 255
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
