"""The float model made simple: plain weights, BatchNorm folded into its layer, dynamic padding made static.

These are optimizations. One that changes what the model returns, or that the model's own code cannot live
with, is left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kind import Sides
from brevitas_defakeq.nn.module_tree import copy_module, replace_module
from brevitas_defakeq.prepare.batch_norm_folding import batch_norm_pairs, fold_batch_norm_, folds_by_norm
from brevitas_defakeq.prepare.functional_calls import constant_biases
from brevitas_defakeq.prepare.layer_subclasses import examine_subclasses, plain_layer, with_padding
from brevitas_defakeq.prepare.parametrizations import remove_parametrizations_
from brevitas_defakeq.prepare.product_layers import (
    ProductLayers,
    find_product_layers,
    make_product_layers_,
)
from brevitas_defakeq.prepare.trace import Trace, tensors_in, trace

#: Largest change of an output, over the largest output: of rounding, in a deep network.
_LARGEST_CHANGE = 1e-3
_Undo = Callable[[], None]


@dataclass(frozen=True)
class Simplified:
    """What was done to a model, as in ``Plan``.

    Attributes:
        strangers: layers that compute something else than their kind -> why they stay float.
    """

    plain: tuple[str, ...] = ()
    paddings: dict[str, Sides] = field(default_factory=dict)
    folds: tuple[tuple[str, str], ...] = ()
    strangers: dict[str, str] = field(default_factory=dict)
    products: ProductLayers = ProductLayers()


@dataclass(frozen=True)
class _Change:
    """A change of the model that can be undone: a layer replaced, or a norm folded into layers."""

    layers: tuple[str, ...]
    make: Callable[[], _Undo]
    norm: str = ""


@torch.no_grad()
def simplify_(model: nn.Module, images: Tensor, before: Trace) -> tuple[Simplified, Trace]:
    """Simplify a float model in eval mode, in place.

    Args:
        model: without parametrizations and fused kernels.
        before: a trace of it on ``images``.

    Returns:
        What was done, and a trace of the result.
    """
    products, before = _products_made_(model, images, before)
    found = examine_subclasses(model, before)
    pairs = batch_norm_pairs(model, before, found.strangers)
    changes = [
        _Change((name,), partial(_replace_, model, name, found.plain.get(name), found.paddings.get(name)))
        for name in dict.fromkeys([*found.plain, *found.paddings])
    ]
    changes += [
        _Change(tuple(layers), partial(fold_batch_norm_, model, layers, norm), norm)
        for norm, layers in folds_by_norm(pairs).items()
    ]
    if not changes:
        return Simplified(strangers=found.strangers, products=products), before
    made, after = _make_(model, images, changes, before)
    replaced = {name for change in made if not change.norm for name in change.layers}
    left_out = {
        change.layers[0]: f"{type(model.get_submodule(change.layers[0])).__name__} cannot be replaced here"
        for change in changes
        if change not in made and not change.norm
    }
    return Simplified(
        plain=tuple(name for name in found.plain if name in replaced),
        paddings={name: sides for name, sides in found.paddings.items() if name in replaced},
        folds=tuple((layer, change.norm) for change in made if change.norm for layer in change.layers),
        strangers=found.strangers | left_out,
        products=products,
    ), after  # fmt: skip


def _products_made_(model: nn.Module, images: Tensor, before: Trace) -> tuple[ProductLayers, Trace]:
    """Products made into layers, where that keeps the outputs, and a trace of the result."""
    products = find_product_layers(model, before)
    if not products:
        return products, before
    biases = constant_biases(model, before, products.functional)
    tried = copy_module(model)
    make_product_layers_(tried, products, biases)
    if _trace_if_equal(tried, images, before) is None:
        return ProductLayers(), before
    make_product_layers_(model, products, biases)
    return products, trace(model, images)


def replay_products_(model: nn.Module, products: ProductLayers) -> None:
    """Make a freshly built model's products into layers as another one's of its architecture were."""
    remove_parametrizations_(model)
    make_product_layers_(model, products)


def replay_(
    model: nn.Module, plain: Iterable[str], paddings: Mapping[str, Sides], folds: Iterable[tuple[str, str]]
) -> None:
    """Simplify a freshly built model as another one of its architecture was, after ``replay_products_``."""
    for name in plain:
        _replace_(model, name, plain_layer(model.get_submodule(name)), None)
    for name, sides in paddings.items():
        _replace_(model, name, None, sides)
    for norm, layers in folds_by_norm(folds).items():
        fold_batch_norm_(model, layers, norm)


def _replace_(model: nn.Module, name: str, plain: nn.Module | None, sides: Sides | None) -> _Undo:
    """Put the plain layer, or the layer itself, behind a fixed padding if there is one."""
    old = model.get_submodule(name)
    new = old if plain is None else plain
    new = new if sides is None else with_padding(new, sides)
    replace_module(model, old, new)
    return partial(replace_module, model, new, old)


def _make_(
    model: nn.Module, images: Tensor, changes: Sequence[_Change], before: Trace
) -> tuple[Sequence[_Change], Trace]:
    """Make all changes, or those that leave the output as it was; a trace of the result."""
    undos = [change.make() for change in changes]
    after = _trace_if_equal(model, images, before)
    if after is not None:
        return changes, after
    for undo in reversed(undos):
        undo()
    made: list[_Change] = []
    left_out: set[str] = set()
    for change in changes:
        if left_out.isdisjoint(change.layers):
            undo = change.make()
            if _trace_if_equal(model, images, before) is not None:
                made.append(change)
                continue
            undo()
        left_out.update(change.layers)
    return made, trace(model, images.clone())


def _trace_if_equal(model: nn.Module, images: Tensor, before: Trace) -> Trace | None:
    """A trace of the changed model; None if it fails or returns something else than before."""
    try:
        after = trace(model, images.clone())
    except Exception:  # whatever the user's code raises where a module is not the one it expects
        return None
    outputs, wanted = list(tensors_in(after.output)), list(tensors_in(before.output))
    same = len(outputs) == len(wanted) and all(map(_equal, outputs, wanted))
    return after if same else None


def _equal(output: Tensor, wanted: Tensor) -> bool:
    if output.shape != wanted.shape:
        return False
    largest = wanted.abs().max().clamp_min(1e-3) if wanted.numel() else torch.tensor(1.0)
    return bool(((output - wanted).abs() <= _LARGEST_CHANGE * largest).all())
