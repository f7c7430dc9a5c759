"""A layer kind from outside the package: ``nn.Conv3d``, and a small detector that uses one."""

import brevitas.nn as qnn
import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.convolution import convolution_kind

CONV3D = convolution_kind(nn.Conv3d, qnn.QuantConv3d, dims=3)


class VolumeDetector(nn.Module):
    """Takes the three colours of an image [N, 3, H, W] as the depth of a volume [N, 1, 3, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.volume = nn.Conv3d(1, 8, (3, 3, 3), stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(8)
        self.flat = nn.Conv2d(16, 8, 3, padding=1)
        self.head = nn.Linear(8, 1)

    def forward(self, images: Tensor) -> Tensor:
        volume = torch.relu(self.norm(self.volume(images.unsqueeze(1))))  # [N, 8, 2, H/2, W/2]
        return self.head(torch.relu(self.flat(volume.flatten(1, 2))).mean((2, 3)))


def build():
    """What ``load`` builds again: the model and how images are prepared for it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VolumeDetector()
        model.norm.running_var.uniform_(0.3, 1.2)
    return model.eval(), {"input_size": 16, "mean": 0.5, "std": 0.25}
