"""Named modules one after the other."""

from collections import OrderedDict

from torch import nn


class Chain(nn.Sequential):
    """``nn.Sequential`` from keywords: ``Chain(encoder=..., head=...)``."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__(OrderedDict(modules))
