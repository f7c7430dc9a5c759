"""Weights that a forward pass reads though they are not the model's: of a global module, of a hidden list."""

import logging
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from brevitas_defakeq.prepare.trace import tensors_in
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)


class WeightsRead(TorchFunctionMode):
    """Notes, within its context, the tensors that torch functions read and that have a life of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: dict[int, Tensor] = {}

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        for tensor in tensors_in((args, kwargs)):
            if isinstance(tensor, nn.Parameter):
                self.tensors[id(tensor)] = tensor
        return function(*args, **(kwargs or {}))

    def check(self, model: nn.Module, original: nn.Module) -> None:
        """Say which weights are not those of ``model``.

        Raises:
            UserError: some are those of ``original``, of which ``model`` is a copy.
        """
        own = {id(parameter) for parameter in model.parameters()}
        outside = [tensor for key, tensor in self.tensors.items() if key not in own]
        names = {id(parameter): name for name, parameter in original.named_parameters()}
        known = next((names[id(tensor)] for tensor in outside if id(tensor) in names), None)
        if known is not None and model is not original:
            raise UserError(
                f"a copy of the detector still reads {known} of the detector itself, by way of a global "
                "variable or the like; let the forward pass reach it by way of self"
            )
        if outside:
            shapes = ", ".join("x".join(map(str, tensor.shape)) for tensor in outside[:3])
            _LOG.warning(
                "the forward pass reads %d weights (%s) that no module of the detector holds: they stay "
                "float, and no run folder keeps them; register them (nn.ModuleList, not a list)",
                len(outside), shapes,
            )  # fmt: skip
