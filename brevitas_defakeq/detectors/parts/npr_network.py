"""The network of NPR."""

from timm.models.resnet import ResNet
from torch import Tensor, nn

from brevitas_defakeq.detectors.parts.timm_model import build_timm


class PixelResidual(nn.Module):
    """Every pixel minus the upper left one of its 2 x 2 cell, times 2/3: [N, C, H, W] to the same shape."""

    def forward(self, images: Tensor) -> Tensor:
        batch, channels, height, width = images.shape
        cells = images.reshape(batch, channels, height // 2, 2, width // 2, 2)
        return (cells - cells[:, :, :, :1, :, :1]).reshape(images.shape) * (2.0 / 3.0)


class NPR(nn.Module):
    """The residual, a ResNet-50 up to its second stage (its first convolution 3 x 3), pooling, one logit."""

    def __init__(self) -> None:
        super().__init__()
        body = build_timm("resnet50", num_classes=0)
        assert isinstance(body, ResNet)
        self.residual = PixelResidual()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        self.bn1, self.act1, self.maxpool = body.bn1, body.act1, body.maxpool
        self.layer1, self.layer2 = body.get_submodule("layer1"), body.get_submodule("layer2")
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc1 = nn.Linear(512, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.act1(self.bn1(self.conv1(self.residual(images)))))
        return self.fc1(self.pool(self.layer2(self.layer1(x))))
