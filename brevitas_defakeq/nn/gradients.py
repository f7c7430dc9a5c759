"""Training inside a caller's ``torch.no_grad()`` or ``torch.inference_mode()``."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def gradients_on() -> Iterator[None]:
    """Within the context, or a function that it decorates, gradients are recorded."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
