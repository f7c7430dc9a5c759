"""Rounding in closed form, layer by layer: GPTQ (arXiv 2210.17323), and GPTAQ (arXiv 2504.02692).

The columns of a weight W are rounded in order; what rounding one of them does to the layer's output is taken
out again, as far as it goes, by those that are not rounded yet.

| symbol | here |
|---|---|
| X, X_f | ``inputs``: of a layer behind the quantized prefix, and in M_f, [K, images * positions] |
| H | ``hessian``: X X^T, with a hundredth of its mean diagonal added to its diagonal |
| A | ``asymmetry``: (X_f - X) X^T; 0 in GPTQ, whose target is W X instead of W X_f |
| U | ``upper``: of the Cholesky decomposition H^-1 = U^T U |

``brevitas.graph.gptq`` has the same update, and the tests compare the two. It is not used because it takes
the inputs of a linear layer for [N, tokens, C] (Swin has [N, H, W, C]), pads every convolution with zeros on
both sides alike, leaves transposed convolutions out, asks the weight proxy for one column at a time, and has
no asymmetric form.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import FORWARD_BATCH
from brevitas_defakeq.nn.layer_kinds import layer_kind_of
from brevitas_defakeq.nn.module_tree import removed_after, weight_of
from brevitas_defakeq.quant.coded_weight import read_codes, write_codes_
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.reconstruct.block_task import BlockTask

#: Values of ``rounding`` that are computed here.
GPTQ_ROUNDINGS = ("gptq", "gptaq")
#: Added to the diagonal of H, in units of its mean.
_DAMPING = 0.01
#: Share of the asymmetric correction that is made: the authors' code takes a quarter.
_ASYMMETRIC_SHARE = 0.25
#: Images whose windows are laid out at a time: those of a 3 x 3 convolution are nine times its input.
_AT_ONCE = 4
#: Columns whose effect on the others is added up before it is applied.
_COLUMNS = 128


@dataclass
class InputProducts:
    """H and A of one layer, [groups, K, K] in double precision, summed over its calls."""

    hessian: Tensor | None = None
    asymmetry: Tensor | None = None

    def add(self, inputs: Tensor, float_inputs: Tensor | None) -> None:
        """One call's inputs [groups, K, n], and those of the same call in M_f."""
        self.hessian = _sum(self.hessian, inputs @ inputs.mT)
        if float_inputs is not None:
            self.asymmetry = _sum(self.asymmetry, (float_inputs - inputs) @ inputs.mT)


def _sum(total: Tensor | None, part: Tensor) -> Tensor:
    return part.double() if total is None else total.add_(part)


@torch.no_grad()
def round_block_(task: BlockTask, *, asymmetric: bool) -> None:
    """Round the layers of a block in call order, each behind those before it; ranges stay.

    Layers of a kind that has no ``windows`` are left at nearest.
    """
    for name, layer in task.layers.items():
        windows = layer_kind_of(layer).windows
        if windows is not None:
            reference = task.reference_layers[name] if asymmetric else None
            round_layer_(layer, input_products(task, layer, windows, reference))


def input_products(
    task: BlockTask, layer: nn.Module, windows: Callable[..., Tensor], reference: nn.Module | None
) -> InputProducts:
    """H of a layer over the training images and, with its float layer, A.

    Args:
        windows: of the layer's kind.
    """
    found = InputProducts()
    for images in task.train.split(FORWARD_BATCH):
        wanted: list[Tensor] = []
        if reference is not None:
            data = task.reference_data
            with _inputs_of(reference) as wanted:
                data.run(task.reference, data.rows(data.inputs, images))
        with _inputs_of(layer) as inputs:
            task.run(task.quantized_data.rows(task.quantized_data.inputs, images))
        for index, call in enumerate(inputs):
            others = wanted[index].split(_AT_ONCE) if wanted else repeat(None)
            for part, other in zip(call.split(_AT_ONCE), others, strict=False):
                found.add(windows(layer, part), None if other is None else windows(layer, other))
    return found


@contextmanager
def _inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What the layer's product is computed from within the context, call by call."""
    found: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple) -> None:
        quantize = getattr(layer, "input_quant", None)  # a float layer has none
        values = inputs[0] if quantize is None else quantize(inputs[0])
        found.append(getattr(values, "value", values).clone())

    with removed_after([layer.register_forward_pre_hook(note)]):
        yield found


@torch.no_grad()
def round_layer_(layer: nn.Module, products: InputProducts) -> None:
    """Give the layer the codes that ``compensated_codes`` finds on its present grid."""
    quantizer, weight = weight_quantizer(layer), weight_of(layer)
    _, scale, zero_point = read_codes(layer)
    width = quantizer.msb_clamp_bit_width_impl()
    bounds = float(quantizer.int_quant.min_int(width)), float(quantizer.int_quant.max_int(width))
    if products.hessian is None:  # the layer did not run
        return
    rows = (tensor.flatten(1).double().chunk(len(products.hessian)) for tensor in (weight, scale, zero_point))
    codes = []
    for group, (own, steps, zeros) in enumerate(zip(*rows, strict=True)):
        asymmetry = None if products.asymmetry is None else products.asymmetry[group]
        codes.append(compensated_codes(own, steps, zeros, bounds, products.hessian[group], asymmetry))
    write_codes_(layer, torch.cat(codes).view_as(weight).to(weight.dtype), scale, zero_point)


def compensated_codes(
    weight: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    bounds: tuple[float, float],
    hessian: Tensor,
    asymmetry: Tensor | None = None,
) -> Tensor:
    """Codes of a weight [R, K] that keep ``W X`` (GPTQ) or, with ``asymmetry``, ``W X_f`` (GPTAQ).

    After column j is rounded to q_j, the columns k > j get ``-(w_j - q_j) U_jk / U_jj + w_j P_jk`` with
    ``P = share * triu(A U^T, 1) U``.

    Args:
        scale, zero_point: of each row's grid, [R, 1].
        bounds: the smallest and the largest code.
        hessian: [K, K]; a column that is never used (its diagonal is 0) is rounded to nearest.
        asymmetry: A, [K, K].
    """
    upper = _inverse_factor(hessian)
    weight, codes = weight.clone(), torch.empty_like(weight)
    pull = torch.zeros_like(hessian)
    if asymmetry is not None:
        pull = _ASYMMETRIC_SHARE * (asymmetry @ upper.mT).triu(diagonal=1) @ upper
    for start in range(0, weight.shape[1], _COLUMNS):
        own = slice(start, min(start + _COLUMNS, weight.shape[1]))
        errors, taken = torch.empty_like(weight[:, own]), torch.empty_like(weight[:, own])
        for column in range(own.start, own.stop):
            value = weight[:, column : column + 1].clone()
            code = (value / scale + zero_point).round().clamp(*bounds)
            error = (value - scale * (code - zero_point)) / upper[column, column]
            behind = slice(column + 1, own.stop)
            weight[:, behind] += value * pull[column, behind] - error * upper[column, behind]
            codes[:, column : column + 1] = code
            taken[:, column - start], errors[:, column - start] = value[:, 0], error[:, 0]
        later = slice(own.stop, None)
        weight[:, later] += taken @ pull[own, later] - errors @ upper[own, later]
    return codes


def _inverse_factor(hessian: Tensor) -> Tensor:
    """U, upper triangular, with ``U^T U`` the inverse of the damped Hessian."""
    damped = hessian.clone()
    diagonal = damped.diagonal()  # a view
    used = diagonal > 0
    mean = float(diagonal[used].mean()) if used.any() else 1.0
    diagonal[~used] = mean
    diagonal += _DAMPING * mean
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)
