"""What will be done to a model: found once from traces, kept with the run as JSON, replayed on load.

``prepare_float`` (fold BatchNorm, fix paddings) changes a copy; ``make_plan`` then reads the copy and
decides which layers are quantized, which stay float and why, and how the network splits into blocks.
"""

from dataclasses import asdict, dataclass, replace

from torch import Tensor, nn

from brevitas_defakeq.nn.attention import QUANTIZED_ATTENTION
from brevitas_defakeq.nn.modules import modules_by_name
from brevitas_defakeq.prepare import fold
from brevitas_defakeq.prepare.blocks import Block, split_into_blocks
from brevitas_defakeq.prepare.trace import Trace, trace

QUANTIZABLE = (nn.Linear, nn.Conv1d, nn.Conv2d)
_WEIGHT_READERS = {"linear", "conv1d", "conv2d", "matmul", "__matmul__", "bmm", "einsum", "baddbmm",
                   "conv_transpose2d", "multi_head_attention_forward", "batch_norm", "layer_norm",
                   "group_norm"}  # fmt: skip


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
    """

    folds: tuple[tuple[str, str], ...]
    paddings: dict[str, tuple[int, int, int, int]]
    attentions: tuple[str, ...]
    layers: tuple[LayerPlan, ...]
    blocks: tuple[Block, ...]
    embeddings: tuple[str, ...]
    left_float: dict[str, str]
    head: str

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
        )


def make_plan(model: nn.Module, images: Tensor) -> Plan:
    """Fold and fix ``model`` in place (give a copy), and return the plan of what to quantize.

    Args:
        model: float detector in eval mode; changed in place.
        images: one or more preprocessed images, [N, 3, H, W].
    """
    seen = trace(model, images)
    folds = tuple(fold.batch_norm_pairs(model, seen))
    for layer, norm in folds:
        fold.fold_batch_norm_(model, layer, norm)
    paddings, strangers = _examine_subclasses(model, seen, {layer for layer, _ in folds})
    for name, sides in paddings.items():
        fold.make_static_(model, name, sides)
    if folds or paddings:
        seen = trace(model, images)
    return _read(model, seen, Plan(folds, paddings, (), (), (), (), strangers, ""))


def replay_preparation_(model: nn.Module, plan: Plan) -> None:
    """Fold and fix a freshly built architecture as the plan says (when a run is loaded)."""
    for layer, norm in plan.folds:
        fold.fold_batch_norm_(model, layer, norm)
    for name, sides in plan.paddings.items():
        fold.make_static_(model, name, sides)


def _examine_subclasses(model: nn.Module, seen: Trace, folded: set[str]) -> tuple[dict, dict]:
    """Subclasses with a forward of their own: static paddings found, and strangers with the reason."""
    paddings: dict[str, tuple] = {}
    strangers: dict[str, str] = {}
    for name, module in modules_by_name(model).items():
        base = next((kind for kind in QUANTIZABLE if isinstance(module, kind)), None)
        if base is None or type(module).forward is base.forward or name not in seen.calls:
            continue
        call = seen.calls[name][0]
        source, output = call.inputs[0], call.output
        if name in folded:  # its weights changed since the trace: ask the layer itself
            output = module(source)
        if fold.behaves_like(module, source, output):
            continue
        same = fold.static_same_padding(module, source) if isinstance(module, nn.Conv2d) else None
        if same is not None and fold.behaves_like(module, source, output, same):
            paddings[name] = same
        else:
            strangers[name] = f"{type(module).__name__} computes something else than {base.__name__}"
    return paddings, strangers


def _read(model: nn.Module, seen: Trace, plan: Plan) -> Plan:
    modules = modules_by_name(model)
    left_float = dict(plan.left_float)
    layers: dict[str, LayerPlan] = {}
    owners: dict[int, str] = {}
    for name in seen.calls:
        module = modules[name]
        if isinstance(module, QUANTIZABLE) and name not in left_float:
            owner = owners.setdefault(id(module.weight), name)
            if owner != name:
                left_float[name] = f"shares its weight with {owner}"
            else:
                layers[name] = _layer_plan(name, module, seen)
    for name, module in modules.items():
        if isinstance(module, QUANTIZABLE) and name not in seen.calls:
            left_float[name] = "never reached by the forward pass"
        elif name in seen.calls and name not in layers and name not in left_float:
            reason = _why_float(module)
            if reason:
                left_float[name] = reason
    attentions = tuple(name for name in seen.calls if type(modules[name]) in QUANTIZED_ATTENTION)
    return replace(
        plan,
        attentions=attentions,
        layers=tuple(layers.values()),
        blocks=split_into_blocks(model, seen, tuple(layers)),
        embeddings=_embeddings(model, seen),
        left_float=left_float,
        head=next(reversed(layers), ""),
    )


def _layer_plan(name: str, module: nn.Module, seen: Trace) -> LayerPlan:
    calls = seen.calls[name]
    per_image = 0
    for call in calls:
        outputs = call.output.numel() // call.inputs[0].shape[0] if call.inputs[0].shape[0] else 0
        per_image += outputs * module.weight[0].numel()
    kind = next(base.__name__ for base in QUANTIZABLE if isinstance(module, base))
    return LayerPlan(name, kind, tuple(module.weight.shape), per_image, len(calls))


def _why_float(module: nn.Module) -> str | None:
    """Why a module with weights of its own (two or more dimensions) is not quantized."""
    own = [parameter for parameter in module.parameters(recurse=False) if parameter.dim() >= 2]
    if not own or isinstance(module, nn.Embedding):
        return None
    if type(module) in QUANTIZED_ATTENTION:
        return None
    known = "ConvTranspose" in type(module).__name__ or isinstance(module, nn.MultiheadAttention)
    kind = type(module).__name__
    return f"{kind} has no quantized form here" if known else None


def _embeddings(model: nn.Module, seen: Trace) -> tuple[str, ...]:
    """Raw parameters of two or more dimensions and rows that no product reads: positions, tables."""
    layers = {id(p) for m in model.modules() if isinstance(m, QUANTIZABLE) for p in m.parameters()}
    found = []
    for name, parameter in model.named_parameters():
        rows = parameter.numel() // max(parameter.shape[-1], 1) if parameter.dim() else 0
        read_by = set(seen.readers_of(parameter))
        if id(parameter) in layers or rows < 2 or not read_by or read_by & _WEIGHT_READERS:
            continue
        if parameter.shape[-1] > 1:
            found.append(name)
    return tuple(found)
