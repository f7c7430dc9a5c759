"""What will be done to a model: found once from traces, kept with the run as JSON, replayed on load.

``prepare_float`` (fold BatchNorm, fix paddings) changes a copy; ``make_plan`` then reads the copy and
decides which layers are quantized, which stay float and why, and how the network splits into blocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.attention import QUANTIZED_ATTENTION
from brevitas_defakeq.nn.layer_kind import Sides
from brevitas_defakeq.nn.layer_kinds import find_layer_kind, layer_kind_of, product_functions, weight_and_bias
from brevitas_defakeq.nn.module_tree import modules_by_name
from brevitas_defakeq.nn.static_padding import StaticPad
from brevitas_defakeq.prepare import batch_norm_folding
from brevitas_defakeq.prepare.blocks import Block, split_into_blocks
from brevitas_defakeq.prepare.grids import Grids
from brevitas_defakeq.prepare.hardware_grids import find_grids
from brevitas_defakeq.prepare.trace import Trace, trace
from brevitas_defakeq.prepare.unquantized_outputs import open_outputs

#: Torch functions that multiply by a matrix, besides those of the registered layer kinds.
_PRODUCTS = {"linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
             "conv_transpose3d", "matmul", "__matmul__", "__rmatmul__", "mm", "spmm", "mv", "inner", "bmm",
             "addmm", "baddbmm", "einsum", "tensordot", "multi_head_attention_forward", "lstm", "gru",
             "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell",
             "t", "__get__"}  # a matrix turned: W.T  # fmt: skip
_NOTHING: Mapping[str, str] = MappingProxyType({})
_NORMS = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"}


@dataclass(frozen=True)
class LayerPlan:
    """A layer to quantize: its weights, its work for one image, and how often it runs."""

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    macs: int
    calls: int

    @property
    def num_params(self) -> int:
        count = 1
        for size in self.weight_shape:
            count *= size
        return count


@dataclass(frozen=True)
class Plan:
    """Everything that turns the user's architecture into the quantized one.

    Attributes:
        folds: (layer, BatchNorm) names, in order.
        paddings: layer -> fixed (left, right, top, bottom).
        attentions: names of attention modules whose products are quantized.
        layers: layers to quantize, in data-flow order.
        blocks: units of reconstruction, in data-flow order.
        embeddings: raw parameters stored at 8 bits.
        left_float: name -> why it stays float.
        head: the last layer called; what it reads is the detector's feature.
        open_outputs: convolutions with a reader that takes their result as it is.
        grids: what else has to be quantized for integer hardware, and on which common grid.
    """

    folds: tuple[tuple[str, str], ...]
    paddings: dict[str, Sides]
    attentions: tuple[str, ...]
    layers: tuple[LayerPlan, ...]
    blocks: tuple[Block, ...]
    embeddings: tuple[str, ...]
    left_float: dict[str, str]
    head: str
    open_outputs: tuple[str, ...] = ()
    grids: Grids = Grids()

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "Plan":
        return cls(
            folds=tuple(tuple(pair) for pair in data["folds"]),
            paddings={name: tuple(sides) for name, sides in data["paddings"].items()},
            attentions=tuple(data["attentions"]),
            layers=tuple(
                LayerPlan(**{**layer, "weight_shape": tuple(layer["weight_shape"])})
                for layer in data["layers"]
            ),
            blocks=tuple(Block(block["name"], tuple(block["layers"])) for block in data["blocks"]),
            embeddings=tuple(data["embeddings"]),
            left_float=dict(data["left_float"]),
            head=data["head"],
            open_outputs=tuple(data.get("open_outputs", ())),
            grids=Grids.from_dict(data["grids"]) if "grids" in data else Grids(),
        )


def make_plan(
    model: nn.Module, images: Tensor, *, outside: Mapping[str, str] = _NOTHING, blocks: Sequence[str] = ()
) -> Plan:
    """Fold and fix ``model`` in place (give a copy), and return the plan of what to quantize.

    Args:
        model: float detector in eval mode; changed in place.
        images: one or more preprocessed images, [N, 3, H, W].
        outside: module -> why it and all in it stays float.
        blocks: modules that are one unit of reconstruction however many layers they hold.
    """
    traced = trace(model, images)
    folds = tuple(batch_norm_folding.batch_norm_pairs(model, traced))
    for layer, norm in folds:
        batch_norm_folding.fold_batch_norm_(model, layer, norm)
    paddings, strangers = _examine_subclasses(model, traced)
    for name, sides in paddings.items():
        batch_norm_folding.make_static_(model, name, sides)
    if folds or paddings:
        traced = trace(model, images)
    strangers |= _kept_outside(model, outside)
    return _read(model, traced, len(images), Plan(folds, paddings, (), (), (), (), strangers, ""), blocks)


def replay_preparation_(model: nn.Module, plan: Plan) -> None:
    """Fold and fix a freshly built architecture as the plan says (when a run is loaded)."""
    for layer, norm in plan.folds:
        batch_norm_folding.fold_batch_norm_(model, layer, norm)
    for name, sides in plan.paddings.items():
        batch_norm_folding.make_static_(model, name, sides)


@torch.no_grad()
def _examine_subclasses(model: nn.Module, traced: Trace) -> tuple[dict[str, Sides], dict[str, str]]:
    """Subclasses with a forward of their own: fixed paddings found, and strangers with the reason."""
    paddings: dict[str, Sides] = {}
    strangers: dict[str, str] = {}
    for name, module in modules_by_name(model).items():
        kind = find_layer_kind(module)
        if kind is None or isinstance(module, StaticPad) or not _called_plainly(traced, name):
            continue
        if type(module).forward is kind.float_class.forward:
            continue
        sources = [call.inputs[0] for call in traced.calls[name]]
        # Run again: the traced outputs are older than a folded norm, and may be overwritten in place.
        pairs = [(source, module(source)) for source in sources]
        if all(batch_norm_folding.behaves_like(module, *pair) for pair in pairs):
            continue
        sides = _fixed_padding(module, pairs)
        if sides is None:
            strangers[name] = f"{type(module).__name__} computes something else than {kind.name}"
        else:
            paddings[name] = sides
    return paddings, strangers


def _fixed_padding(layer: nn.Module, pairs: Sequence[tuple[Tensor, Tensor]]) -> Sides | None:
    """The one fixed padding under which a layer's plain operation makes these outputs of these inputs."""
    found = {batch_norm_folding.same_padding(layer, source) for source, _ in pairs}
    sides = found.pop()
    if found or sides is None:
        return None
    static = batch_norm_folding.with_padding(layer, sides)
    return sides if all(batch_norm_folding.behaves_like(static, *pair) for pair in pairs) else None


def _called_plainly(traced: Trace, name: str) -> bool:
    """Whether every call of a layer hands over one tensor and nothing else."""
    calls = traced.calls.get(name, [])
    return bool(calls) and all(len(call.inputs) == 1 and not call.options for call in calls)


def _kept_outside(model: nn.Module, outside: Mapping[str, str]) -> dict[str, str]:
    """The modules that were asked to stay float, and the layers and attentions in them, with the reason."""
    attentions = tuple(QUANTIZED_ATTENTION)
    return {
        name: reason
        for name, module in modules_by_name(model).items()
        for top, reason in outside.items()
        if name == top
        or (name.startswith(f"{top}.") and (find_layer_kind(module) or isinstance(module, attentions)))
    }


def _read(model: nn.Module, traced: Trace, images: int, plan: Plan, blocks: Sequence[str]) -> Plan:
    modules = modules_by_name(model)
    layers, left_float = _layers(modules, traced, images, plan.left_float)
    names = tuple(layer.name for layer in layers)
    attentions = tuple(
        name for name in traced.calls if type(modules[name]) in QUANTIZED_ATTENTION and name not in left_float
    )
    return replace(
        plan,
        attentions=attentions,
        layers=layers,
        blocks=split_into_blocks(model, traced, names, blocks),
        embeddings=_embeddings(model, traced),
        left_float=left_float,
        head=names[-1] if names else "",
        open_outputs=open_outputs(modules, traced, names),
        grids=find_grids(model, traced, names, attentions),
    )


def _layers(
    modules: Mapping[str, nn.Module], traced: Trace, images: int, outside: Mapping[str, str]
) -> tuple[tuple[LayerPlan, ...], dict[str, str]]:
    """The layers that are quantized, in call order, and what is left in float: ``outside`` and more."""
    left_float = dict(outside)
    layers: dict[str, LayerPlan] = {}
    owners: dict[int, str] = {}
    for name in traced.calls:
        module = modules[name]
        if find_layer_kind(module) and not _called_plainly(traced, name):
            left_float[name] = "called with more than one positional argument"
        elif find_layer_kind(module) and name not in left_float:
            owner = owners.setdefault(id(module.weight), name)
            if owner != name:
                left_float[name] = f"shares its weight with {owner}"
            else:
                layers[name] = _layer_plan(name, module, traced, images)
    for name, module in modules.items():
        if find_layer_kind(module) and name not in traced.calls:
            read = bool(traced.readers_of(module.get_parameter("weight")))
            left_float[name] = "its weight is read elsewhere" if read else "never reached by the forward pass"
        elif name in traced.calls and name not in layers and name not in left_float:
            reason = _why_float(module, traced)
            if reason:
                left_float[name] = reason
    return tuple(layers.values()), left_float


def _layer_plan(name: str, module: nn.Module, traced: Trace, images: int) -> LayerPlan:
    calls = traced.calls[name]
    weight, _ = weight_and_bias(module)
    macs = sum(call.tensor().numel() for call in calls) * weight[0].numel() // images
    return LayerPlan(name, layer_kind_of(module).name, tuple(weight.shape), macs, len(calls))


def _why_float(module: nn.Module, traced: Trace) -> str | None:
    """Why a module with a product of its own (a matrix it multiplies by, attention) is not quantized."""
    kind = type(module)
    if kind in QUANTIZED_ATTENTION:
        return None
    if isinstance(module, tuple(QUANTIZED_ATTENTION)):
        return f"products of {kind.__name__} have no quantized form here"
    own = [parameter for parameter in module.parameters(recurse=False) if parameter.dim() >= 2]
    products = _PRODUCTS | product_functions()
    multiplies = any(products.intersection(traced.readers_of(parameter)) for parameter in own)
    return f"{kind.__name__} has no quantized form here" if multiplies else None


def _embeddings(model: nn.Module, traced: Trace) -> tuple[str, ...]:
    """Raw parameters of two or more dimensions and rows that no product reads: positions, tables."""
    layers = {id(p) for m in model.modules() if find_layer_kind(m) for p in m.parameters()}
    not_embedded = _PRODUCTS | product_functions() | _NORMS
    found = []
    for name, parameter in model.named_parameters():
        rows = parameter.numel() // max(parameter.shape[-1], 1) if parameter.dim() else 0
        read_by = set(traced.readers_of(parameter))
        if id(parameter) in layers or rows < 2 or not read_by or read_by & not_embedded:
            continue
        if parameter.shape[-1] > 1:
            found.append(name)
    return tuple(found)
