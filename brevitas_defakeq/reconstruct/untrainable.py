"""Networks through which torch sends no gradient, such as a forward under ``torch.no_grad``."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import restore_
from brevitas_defakeq.utils.errors import first_line

_LOG = logging.getLogger(__name__)
#: In torch's messages: no gradient at all, or a value that backward needs was changed in place.
_REFUSALS = ("does not require grad", "inplace", "in-place", "nference tensor")


@contextmanager
def untrained_if_refused(model: nn.Module, start: Mapping[str, Tensor], name: str) -> Iterator[None]:
    """``model`` is trained inside; where torch refuses a gradient it gets the tensors of ``start`` back."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in _REFUSALS):
            raise
        restore_(model, start)
        reason = first_line(error)
        _LOG.warning("%s is not trained, since no gradient passes its forward: %s", name, reason)
