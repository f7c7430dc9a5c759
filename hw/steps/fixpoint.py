"""Passes over a graph, repeated until it rests."""

from collections.abc import Callable, Sequence

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation
from qonnx.transformation.general import GiveReadableTensorNames, GiveUniqueNodeNames
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.transformation.remove import RemoveIdentityOps

from brevitas_defakeq.utils.errors import UserError

#: Networks of 50 layers rest after 5 rounds; what has not after 40 goes in a circle.
_LIMIT = 40
#: Sums with less than 1e-5 are not nothing where values are small: only exact zeros are dropped.
_EXACT = RemoveIdentityOps(atol=0)


def apply_passes(model: ModelWrapper, passes: Sequence[Transformation]) -> ModelWrapper:
    """The passes one after another; names, shapes and data types hold after each."""
    for each in passes:
        model = model.transform(each, make_deepcopy=False)
    return model


def refresh_names_and_types(model: ModelWrapper) -> ModelWrapper:
    """Names, shapes and data types anew."""
    return apply_passes(
        model, (GiveUniqueNodeNames(), GiveReadableTensorNames(), InferShapes(), InferDataTypes())
    )


def apply_until_fixpoint(model: ModelWrapper, passes: Sequence[Transformation], step: str) -> ModelWrapper:
    """Repeat the passes, in their order, until a whole round changes no node.

    Raises UserError if they go in a circle: the graph has a form that the passes were not made for.
    """
    for _ in range(_LIMIT):
        before = _connections(model)
        for each in passes:
            model = model.transform(each, make_deepcopy=False)
            model = apply_passes(model, (_EXACT, InferDataTypes()))
        model = refresh_names_and_types(model)
        if _connections(model) == before:
            return model
    raise UserError(
        f"step {step}: the graph did not come to rest in {_LIMIT} rounds; give the file to the authors"
    )


def _connections(model: ModelWrapper) -> list[tuple]:
    return [(node.op_type, tuple(node.input), tuple(node.output)) for node in model.graph.node]


class NodeRewrite(Transformation):
    """A rewrite of one node, repeated until ``rewrite(model, node)`` says of none that it changed."""

    def __init__(self, rewrite: Callable[[ModelWrapper, object], bool]) -> None:
        super().__init__()
        self.rewrite = rewrite

    def apply(self, model: ModelWrapper):
        changed = any(self.rewrite(model, node) for node in list(model.graph.node))
        if changed:
            model = apply_passes(model, (InferShapes(), InferDataTypes()))
        return model, changed
