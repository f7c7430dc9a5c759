"""What will be done to a model: found once from traces, kept with the run as JSON, replayed on load.

``simplify_`` (plain weights, folded BatchNorms, fixed paddings) changes a copy; ``make_plan`` then reads the
copy and decides which layers are quantized, which stay float and why, and how the network splits into blocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.attention import QUANTIZED_ATTENTION
from brevitas_defakeq.nn.batch_input import hand_over_copies_, to_channels_last_
from brevitas_defakeq.nn.layer_kind import Sides
from brevitas_defakeq.nn.layer_kinds import find_layer_kind, layer_kind_of, product_functions, weight_and_bias
from brevitas_defakeq.nn.module_tree import modules_by_name
from brevitas_defakeq.nn.multihead_attention import without_fused_kernels_
from brevitas_defakeq.prepare.blocks import Block, split_into_blocks
from brevitas_defakeq.prepare.grids import Grids
from brevitas_defakeq.prepare.hardware_grids import find_grids
from brevitas_defakeq.prepare.image_dimension import ImageDimensions, apart_from_images, image_dimensions
from brevitas_defakeq.prepare.kept_float import KEPT_FLOAT
from brevitas_defakeq.prepare.layer_subclasses import called_plainly
from brevitas_defakeq.prepare.long_tails import long_tailed_inputs
from brevitas_defakeq.prepare.parametrizations import remove_parametrizations_
from brevitas_defakeq.prepare.product_layers import ProductLayers
from brevitas_defakeq.prepare.simplify import replay_, simplify_
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
    """A layer to quantize.

    Attributes:
        macs: multiply-accumulates for one image, all calls together.
        calls: how often it runs in one forward pass.
        outputs: values of its outputs for one image, all calls together; 0 in run folders that have no such
            entry.
        image_dim: dimension of its input and output that counts images.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    macs: int
    calls: int
    outputs: int = 0
    image_dim: int = 0

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
        products: what is made into layers first.
        plain: layers with a computed weight, replaced by one of their kind's own class that holds it.
        changes_batch: the model writes to the images that it is handed.
        contiguous: the model cannot compute in channels-last layout.
        long_tailed: linear layers whose input comes from a softmax or a GELU.
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
    products: ProductLayers = ProductLayers()
    plain: tuple[str, ...] = ()
    changes_batch: bool = False
    contiguous: bool = False
    long_tailed: tuple[str, ...] = ()

    def units(self, kind: str) -> tuple[Block, ...]:
        """What is reconstructed at once: the blocks, or with ``kind="layer"`` every layer by itself."""
        if kind == "block":
            return self.blocks
        return tuple(Block(layer.name, (layer.name,), layer.image_dim) for layer in self.layers)

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
            blocks=tuple(Block(**{**block, "layers": tuple(block["layers"])}) for block in data["blocks"]),
            embeddings=tuple(data["embeddings"]),
            left_float=dict(data["left_float"]),
            head=data["head"],
            open_outputs=tuple(data.get("open_outputs", ())),
            grids=Grids.from_dict(data["grids"]) if "grids" in data else Grids(),
            products=ProductLayers.from_dict(data["products"]) if "products" in data else ProductLayers(),
            plain=tuple(data.get("plain", ())),
            changes_batch=data.get("changes_batch", False),
            contiguous=data.get("contiguous", False),
            long_tailed=tuple(data.get("long_tailed", ())),
        )


def make_plan(
    model: nn.Module,
    images: Tensor,
    *,
    outside: Mapping[str, str] = _NOTHING,
    blocks: Sequence[str] = (),
    contiguous: bool = False,
) -> Plan:
    """Fold and fix ``model`` in place (give a copy), and return the plan of what to quantize.

    Args:
        model: float detector in eval mode; changed in place.
        images: one or more preprocessed images, [N, 3, H, W].
        outside: module -> why it and all in it stays float.
        blocks: modules that are one unit of reconstruction however many layers they hold.
        contiguous: leave the weights in torch's default layout.
    """
    remove_parametrizations_(model)
    without_fused_kernels_(model)
    if not contiguous:
        to_channels_last_(model)
    batch = images.clone()
    version = batch._version
    traced = trace(model, batch)
    changes_batch = batch._version != version or not torch.equal(batch, images)
    if changes_batch or contiguous:
        hand_over_copies_(model, contiguous=contiguous)
        traced = trace(model, images)
    found, traced = simplify_(model, images, traced)
    dims = image_dimensions(model, traced, images)
    strangers = found.strangers | apart_from_images(model, dims) | _kept_outside(model, outside)
    start = Plan(
        found.folds, found.paddings, (), (), (), (), strangers, "", plain=found.plain,
        products=found.products, changes_batch=changes_batch, contiguous=contiguous,
    )  # fmt: skip
    return _read(model, traced, len(images), start, blocks, dims)


def replay_preparation_(model: nn.Module, plan: Plan) -> None:
    """Simplify a freshly built architecture as the plan says (when a run is loaded).

    ``replay_products_`` comes before.
    """
    replay_(model, plan.plain, plan.paddings, plan.folds)
    if not plan.contiguous:
        to_channels_last_(model)
    if plan.contiguous or plan.changes_batch:
        hand_over_copies_(model, contiguous=plan.contiguous)


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


def _read(
    model: nn.Module, traced: Trace, images: int, plan: Plan, blocks: Sequence[str], dims: ImageDimensions
) -> Plan:
    modules = modules_by_name(model)
    layers, left_float = _layers(modules, traced, images, plan.left_float, dims)
    names = tuple(layer.name for layer in layers)
    attentions = tuple(
        name for name in traced.calls if type(modules[name]) in QUANTIZED_ATTENTION and name not in left_float
    )
    return replace(
        plan,
        attentions=attentions,
        layers=layers,
        blocks=split_into_blocks(model, traced, names, blocks, dims),
        embeddings=_embeddings(model, traced, tuple(f"{name}." for name in plan.left_float)),
        left_float=left_float,
        head=plan.products.in_the_original(_head(modules, traced, names, left_float)),
        open_outputs=open_outputs(modules, traced, names),
        grids=find_grids(model, traced, names, attentions),
        long_tailed=long_tailed_inputs(
            traced, [name for name in names if isinstance(modules[name], nn.Linear)], names
        ),
    )


def _head(
    modules: Mapping[str, nn.Module], traced: Trace, names: Sequence[str], left_float: Mapping[str, str]
) -> str:
    """The last layer called, also where a user keeps it in float."""
    kept = (name for name in traced.calls if left_float.get(name) == KEPT_FLOAT)
    layers = {*names, *(name for name in kept if find_layer_kind(modules[name]))}
    return next((name for name in reversed(traced.calls) if name in layers), "")


def _layers(
    modules: Mapping[str, nn.Module],
    traced: Trace,
    images: int,
    outside: Mapping[str, str],
    dims: ImageDimensions,
) -> tuple[tuple[LayerPlan, ...], dict[str, str]]:
    """The layers that are quantized, in call order, and what is left in float: ``outside`` and more."""
    left_float = dict(outside)
    layers: dict[str, LayerPlan] = {}
    owners: dict[int, str] = {}
    for name in traced.calls:
        module = modules[name]
        if find_layer_kind(module) and not called_plainly(traced, name):
            left_float[name] = "called with more than one positional argument"
        elif find_layer_kind(module) and name not in left_float:
            owner = owners.setdefault(id(module.weight), name)
            if owner != name:
                left_float[name] = f"shares its weight with {owner}"
            else:
                layers[name] = _layer_plan(name, module, traced, images, dims.get(name) or 0)
    for name, module in modules.items():
        if find_layer_kind(module) and name not in traced.calls:
            weight = module._parameters.get("weight")
            read = weight is not None and bool(traced.readers_of(weight))
            left_float[name] = "its weight is read elsewhere" if read else "never reached by the forward pass"
        elif name in traced.calls and name not in layers and name not in left_float:
            reason = _why_float(module, traced)
            if reason:
                left_float[name] = reason
    return tuple(layers.values()), left_float


def _layer_plan(name: str, module: nn.Module, traced: Trace, images: int, image_dim: int) -> LayerPlan:
    calls = traced.calls[name]
    weight, _ = weight_and_bias(module)
    kind = layer_kind_of(module)
    outputs = sum(call.tensor().numel() for call in calls) // images
    if kind.exchanged is None:
        macs = outputs * weight[0].numel()
    else:  # each input value is multiplied by its kernels, wherever the stride puts the products
        read = sum(call.inputs[0].numel() for call in calls) // images
        macs = read * weight[:, 0].numel() // kind.exchanged(module)
    shape = tuple(weight.shape)
    return LayerPlan(name, kind.name, shape, macs, len(calls), outputs, image_dim)


def _why_float(module: nn.Module, traced: Trace) -> str | None:
    """Why a module with a product of its own (a matrix it multiplies by, attention) is not quantized."""
    kind = type(module)
    if kind in QUANTIZED_ATTENTION and "forward" in vars(module):
        return f"products of {kind.__name__} with a forward of its own have no quantized form here"
    if kind in QUANTIZED_ATTENTION:
        return None
    if isinstance(module, tuple(QUANTIZED_ATTENTION)):
        return f"products of {kind.__name__} have no quantized form here"
    own = [parameter for parameter in module.parameters(recurse=False) if parameter.dim() >= 2]
    products = _PRODUCTS | product_functions()
    multiplies = any(products.intersection(traced.readers_of(parameter)) for parameter in own)
    return f"{kind.__name__} has no quantized form here" if multiplies else None


def _embeddings(model: nn.Module, traced: Trace, outside: tuple[str, ...]) -> tuple[str, ...]:
    """Raw parameters of two or more dimensions and rows that no product reads: positions, tables.

    Those whose names begin with ``outside`` stay float.
    """
    layers = {id(p) for m in model.modules() if find_layer_kind(m) for p in m.parameters()}
    not_embedded = _PRODUCTS | product_functions() | _NORMS
    found = []
    for name, parameter in model.named_parameters():
        rows = parameter.numel() // max(parameter.shape[-1], 1) if parameter.dim() else 0
        read_by = set(traced.readers_of(parameter))
        if id(parameter) in layers or rows < 2 or not read_by or read_by & not_embedded:
            continue
        if name.startswith(outside):
            continue
        if parameter.shape[-1] > 1 and parameter.isfinite().all():  # a mask may hold -inf
            found.append(name)
    return tuple(found)
