"""Which quantizers the error of the logit comes from: each layer's weights and activations, to first order.

A quantizer moves a tensor by delta; the logit moves by ``<dz/dy, delta>``. All of one backward pass through
the quantized model, image by image, so that what two quantizers undo of each other counts for neither.

| symbol | here |
|---|---|
| e | error of an image's logit, quantized less float |
| c_q | ``<dz/dy, delta>`` of quantizer q on that image |
| share of q | ``E[c_q e] / E[e^2]``; of all q together 1 where errors add up |
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.nn.layer_kinds import layer_kind_of, weight_and_bias
from brevitas_defakeq.nn.module_tree import eval_mode, removed_after
from brevitas_defakeq.quant.activation_quantizer import activation_proxies

#: Images of one pass with gradients.
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class ErrorSources:
    """Shares of the squared error of the logit; negative where a quantizer undoes what others do.

    Attributes:
        error: root of the mean square of e over the spread of the float logits.
        weights: layer -> share of its weights and bias.
        activations: quantizer -> share.
        added_up: of all together; far from 1 where the errors are too large for first order.
    """

    error: float
    weights: dict[str, float]
    activations: dict[str, float]
    added_up: float

    def to_json(self) -> dict[str, Any]:
        """The attributes."""
        return {
            "error": self.error, "weights": self.weights, "activations": self.activations,
            "added_up": self.added_up,
        }  # fmt: skip


def error_sources(
    reference: nn.Module,
    quantized: nn.Module,
    layers: Mapping[str, nn.Module],
    images: Tensor,
    observer: Observer,
) -> ErrorSources:
    """Shares on these images.

    Args:
        reference: M_f, prepared; its modules have the names of M_q's.
        quantized: M_q.
        layers: M_q's quantized layers, by name.
        images: preprocessed, [N, 3, H, W].
    """
    moved: dict[str, list[Tensor]] = {}
    errors, spread = [], []
    floats = dict(reference.named_modules())
    for batch in images.split(_BATCH):
        with torch.no_grad():
            wanted = observer(reference, batch)[0]
        changes: dict[str, Tensor] = {}
        with (
            eval_mode(quantized), torch.enable_grad(),
            _recorded(quantized, layers, floats, len(batch), changes),
        ):  # fmt: skip
            found = observer(quantized, batch.clone().requires_grad_())[0]
            found.sum().backward()
        errors.append((found.detach() - wanted).double())
        spread.append(wanted.double())
        for name, change in changes.items():
            moved.setdefault(name, []).append(change)
    error = torch.cat(errors)
    power = error.square().mean().clamp_min(torch.finfo(error.dtype).tiny)
    shares = {name: float((torch.cat(parts) * error).mean() / power) for name, parts in moved.items()}
    return ErrorSources(
        error=float(power.sqrt() / torch.cat(spread).std().clamp_min(1e-12)),
        weights={name: share for name, share in shares.items() if name in layers},
        activations={name: share for name, share in shares.items() if name not in layers},
        added_up=sum(shares.values()),
    )


@contextmanager
def _recorded(
    quantized: nn.Module,
    layers: Mapping[str, nn.Module],
    floats: Mapping[str, nn.Module],
    count: int,
    changes: dict[str, Tensor],
) -> Iterator[None]:
    """Within the context a forward and a backward pass fill ``changes``: name -> c_q [count]."""

    def note(name: str, output: Tensor, delta: Tensor) -> None:
        def at(gradient: Tensor) -> None:
            added = (gradient.double() * delta).reshape(count, -1).sum(dim=1)
            changes[name] = changes.get(name, torch.zeros_like(added)) + added

        if output.requires_grad and output.shape[0] % count == 0:
            output.register_hook(at)

    def at_quantizer(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple, output: Any) -> None:
            values = _plain(output)
            note(name, values, (values - _plain(inputs[0])).detach().double())

        return hook

    def at_layer(name: str, layer: nn.Module) -> Callable[..., None]:
        original = floats[name]
        input_quant: Any = layer.input_quant

        def hook(_: nn.Module, inputs: tuple, output: Any) -> None:
            values = _plain(output)
            source = _plain(inputs[0]).detach()
            if input_quant.is_quant_enabled:
                source = _plain(input_quant(source))
            exact = layer_kind_of(original).operation(original, source, *weight_and_bias(original))
            note(name, values, (values - exact).detach().double())

        return hook

    handles = [
        proxy.register_forward_hook(at_quantizer(name))
        for name, proxy in activation_proxies(quantized).items()
    ]
    handles += [layer.register_forward_hook(at_layer(name, layer)) for name, layer in layers.items()]
    with removed_after(handles):
        yield


def _plain(value: Any) -> Tensor:
    """The values of a Brevitas ``QuantTensor``, or the tensor itself."""
    return value.value if hasattr(value, "value") else value
