"""The architectures of the two designs; `hw.designs.networks:chain` is a DETECTOR for `defakeq`."""

from torch import Tensor, nn

from brevitas_defakeq.detectors.parts.classnseg_network import ClassNSeg

#: Height and width of the images, in pixels.
SIZE = 64
PREPROCESSING = {"input_size": SIZE, "mean": 0.5, "std": 0.25}
#: (channels, stride) of the chain's convolutions: 64 x 64 pixels become 2 x 2.
_CHAIN = ((16, 2), (16, 1), (32, 2), (32, 1), (48, 2), (64, 2))


class ConvolutionChain(nn.Module):
    """Six 3 x 3 convolutions, one behind the other, and a Linear on the flattened map.

    No branch, no pooling: FINN has RTL for every node, so open tools can build it.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, side = 3, SIZE
        for channels, stride in _CHAIN:
            layers += [
                nn.Conv2d(before, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            ]  # fmt: skip
            before, side = channels, side // stride
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(before * side * side, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).flatten(1))  # [N, 1]


class EncoderDetector(nn.Module):
    """ClassNSeg's nine convolutions, their global mean, and a Linear.

    ClassNSeg itself compares the norms of two halves of the map, for which FINN has no layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ClassNSeg().encoder
        self.head = nn.Linear(128, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images).mean(dim=(2, 3)))  # [N, 1]


def chain() -> tuple[nn.Module, dict]:
    """The small detector and its preprocessing."""
    return ConvolutionChain(), PREPROCESSING


def encoder() -> tuple[nn.Module, dict]:
    """The classic detector and its preprocessing."""
    return EncoderDetector(), PREPROCESSING
