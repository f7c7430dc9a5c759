"""Mean and spread of a layer's output per channel, and the affine step that matches two of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

#: A channel's spread is never changed by more than this factor: beyond it the estimate is noise.
MAX_GAIN = 4.0


@dataclass
class ChannelMoments:
    """Sums over batches, images and positions of one output, per channel."""

    count: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, output: Tensor, channel_dim: int) -> None:
        rows = channel_rows(output, channel_dim)
        self.count += rows.shape[1]
        self.total = self.total + rows.sum(dim=1)
        self.squares = self.squares + rows.square().sum(dim=1)

    def mean(self) -> Tensor:
        return torch.as_tensor(self.total / self.count)

    def spread(self) -> Tensor:
        return torch.as_tensor(self.squares / self.count - self.mean().square()).clamp_min(0.0).sqrt()

    def affine(self, output: Tensor, channel_dim: int) -> tuple[Tensor, Tensor]:
        """Gain and shift per channel, [C] each, that give ``output`` these moments (`matching_affine`)."""
        actual = ChannelMoments()
        actual.add(output, channel_dim)
        return matching_affine(self, actual)


def channel_rows(output: Tensor, channel_dim: int) -> Tensor:
    """All values of each channel, [C, N * positions], in double precision."""
    return output.detach().movedim(channel_dim, 0).flatten(1).double()


def matching_affine(reference: ChannelMoments, actual: ChannelMoments) -> tuple[Tensor, Tensor]:
    """Gain and shift per channel, [C] each: ``gain * actual + shift`` has the reference's mean and spread.

    A channel that hardly moves (in either model) keeps gain 1 and is only shifted.
    """
    wanted, present = reference.spread(), actual.spread()
    floor = 1e-3 * float(wanted.mean()) + 1e-12
    alive = (wanted > floor) & (present > floor)
    ratio = (wanted / present.clamp_min(1e-12)).clamp(1 / MAX_GAIN, MAX_GAIN)
    gain = torch.where(alive, ratio, torch.ones_like(ratio))
    return gain.float(), (reference.mean() - gain * actual.mean()).float()


def along_channels(vector: Tensor, output: Tensor, dim: int) -> Tensor:
    """[C] viewed so that it broadcasts over ``output`` along its channel dimension."""
    shape = [1] * output.dim()
    shape[dim] = -1
    return vector.view(shape)
