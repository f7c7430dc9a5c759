"""A sequence of named modules."""

from collections import OrderedDict

from torch import nn


class NamedSequential(nn.Sequential):
    """``nn.Sequential`` from keywords: ``NamedSequential(encoder=..., head=...)``."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__(OrderedDict(modules))
