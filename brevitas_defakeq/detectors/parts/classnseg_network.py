"""The network of ClassNSeg."""

from torch import Tensor, nn

#: (channels, stride) of each convolution.
_LAYERS = ((8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 2), (64, 1), (64, 2), (128, 1))


class ClassNSeg(nn.Module):
    """Convolution, BatchNorm, ReLU, nine times; the latent map's second half against its first, in size."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for after, stride in _LAYERS:
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            before = after
        self.encoder = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        real, fake = self.encoder(images).abs().mean(dim=(2, 3)).chunk(2, dim=1)  # [N, 64] each
        return (fake - real).mean(dim=1, keepdim=True)
