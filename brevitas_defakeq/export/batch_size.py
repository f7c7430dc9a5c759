"""Graphs for any number of images, of detectors whose forward reads the batch size as a Python number.

``len(x)`` writes the example's batch size into the exported graph. Exports of two batch sizes differ in just
these constants, whose values or sizes grow with the batch: they become functions of the input's shape. Where
that fails, as for a loop over the images, the file takes one image at a time.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor, nn

from brevitas_defakeq.export.graph_writer import FileForm, initializers, write_graph
from brevitas_defakeq.runtime.onnx_file import open_session
from brevitas_defakeq.utils.errors import UserError

#: Two batch sizes that hardly occur as other constants, which the exporter would store once for both.
_FEWER, _MORE = 11, 13
#: Largest difference between batch sizes on noise, over the largest score: codes may round differently.
_LARGEST_DIFFERENCE = 0.02


def write_batch_graph(network: nn.Module, form: FileForm, image: Tensor, opset: int) -> ModelProto:
    """The graph of ``form.read(network(images))`` for any batch size if possible, else for one image.

    Args:
        network, form, opset: as ``write_graph`` takes them.
        image: an example [1, 3, H, W].

    Raises:
        UserError: torch cannot export the model.
    """

    def written(count: int, *, fixed_batch: bool) -> ModelProto:
        example = image.expand(count, -1, -1, -1).clone()
        return write_graph(network, replace(form, fixed_batch=fixed_batch), example, opset)

    if form.fixed_batch:
        return written(1, fixed_batch=True)
    with suppress(UserError):  # torch refuses a forward that asks for the batch size
        model = written(2, fixed_batch=False)
        if batch_of(model) is None:
            return model
    one = written(1, fixed_batch=True)
    with suppress(UserError):
        fewer, more = (written(count, fixed_batch=True) for count in (_FEWER, _MORE))
        joined = _with_variable_batch(fewer, more)
        if joined is not None and _equal_on_noise(joined, one):
            return joined
    return one


def batch_of(model: ModelProto) -> int | None:
    """The one batch size that a graph takes; None for any."""
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    return batch.dim_value if batch.HasField("dim_value") else None


def _with_variable_batch(fewer: ModelProto, more: ModelProto) -> ModelProto | None:
    """``fewer`` with the constants that differ in ``more`` computed from the batch; None if more differs."""
    if list(map(_without_names, fewer.graph.node)) != list(map(_without_names, more.graph.node)):
        return None
    names = _same_constants(fewer, more)
    if names is None:
        return None
    values, others = initializers(fewer), initializers(more)
    model = onnx.ModelProto()
    model.CopyFrom(fewer)
    nodes: list[NodeProto] = []
    for name, same in names.items():
        if np.array_equal(values[name], others[same]):
            continue
        made = _of_batch(model, name, values[name], others[same])
        if made is None:
            return None
        nodes += made
    if not nodes:
        return None
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in {n.output[0] for n in nodes}]
    all_nodes = [
        helper.make_node("Shape", [model.graph.input[0].name], ["batch.size"], start=0, end=1),
        *nodes,
        *model.graph.node,
    ]
    del model.graph.initializer[:], model.graph.node[:], model.graph.value_info[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(all_nodes)
    for value in (*model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        shape = ["batch", *(side.dim_value for side in tensor.shape.dim[1:])]
        value.CopyFrom(helper.make_tensor_value_info(value.name, tensor.elem_type, shape))
    return model


def _without_names(node: NodeProto) -> tuple[str, str, int, int, list[bytes]]:
    """What two exports of one model have in common."""
    attributes = [attribute.SerializeToString(deterministic=True) for attribute in node.attribute]
    return node.domain, node.op_type, len(node.input), len(node.output), attributes


def _same_constants(fewer: ModelProto, more: ModelProto) -> Mapping[str, str] | None:
    """Initializer of ``fewer`` -> the one read in its place in ``more``; None if the graphs differ."""
    names: dict[str, str] = {}
    for node, other in zip(fewer.graph.node, more.graph.node, strict=True):
        for name, same in zip((*node.input, *node.output), (*other.input, *other.output), strict=True):
            if names.setdefault(name, same) != same:
                return None
    values, others = initializers(fewer), initializers(more)
    read = {name: same for name, same in names.items() if name in values}
    return read if all(same in others for same in read.values()) else None


def _of_batch(model: ModelProto, name: str, fewer: np.ndarray, more: np.ndarray) -> list[NodeProto] | None:
    """Nodes that compute a constant that differs between the two exports; None for no such function."""
    if fewer.shape == more.shape:
        slope, rest = np.divmod(more - fewer, _MORE - _FEWER)
        fits = fewer.dtype == np.int64 and not rest.any()
        return _grown(model, name, slope, fewer - _FEWER * slope) if fits else None
    for axis in range(fewer.ndim):
        row = fewer.take([0], axis)
        if np.array_equal(row.repeat(_FEWER, axis), fewer) and np.array_equal(row.repeat(_MORE, axis), more):
            model.graph.initializer.append(numpy_helper.from_array(row, f"{name}.row"))
            slope = (np.arange(fewer.ndim) == axis).astype(np.int64)
            sizes = _grown(model, f"{name}.sizes", slope, np.array(fewer.shape) * (1 - slope))
            return [*sizes, helper.make_node("Expand", [f"{name}.row", f"{name}.sizes"], [name])]
    return None


def _grown(model: ModelProto, name: str, slope: np.ndarray, offset: np.ndarray) -> list[NodeProto]:
    """Nodes that compute ``slope * batch + offset`` under the name of the initializer that it replaces."""
    parts = {
        "slope": slope.reshape(-1),
        "offset": offset.reshape(-1),
        "shape": np.array(slope.shape, np.int64),
    }
    for part, values in parts.items():
        model.graph.initializer.append(numpy_helper.from_array(values, f"{name}.{part}"))
    return [
        helper.make_node("Mul", ["batch.size", f"{name}.slope"], [f"{name}.scaled"]),
        helper.make_node("Add", [f"{name}.scaled", f"{name}.offset"], [f"{name}.flat"]),
        helper.make_node("Reshape", [f"{name}.flat", f"{name}.shape"], [name]),
    ]


def _equal_on_noise(model: ModelProto, one: ModelProto) -> bool:
    """Whether the graph scores batches of one, two and five images as ``one`` scores the images."""
    taken = one.graph.input[0]
    sizes = [side.dim_value for side in taken.type.tensor_type.shape.dim[1:]]
    noise = np.random.default_rng(0).standard_normal((5, *sizes)).astype(np.float32)
    try:
        many, single = (open_session(graph.SerializeToString(), optimize=False) for graph in (model, one))
        wanted = np.concatenate([single.run(None, {taken.name: row[None]})[0].reshape(-1) for row in noise])
        found = [many.run(None, {taken.name: noise[:count]})[0].reshape(-1) for count in (1, 2, 5)]
    except Exception:  # onnxruntime's errors share no other base
        return False
    limit = _LARGEST_DIFFERENCE * max(float(np.abs(wanted).max()), 1e-6)
    return all(
        len(scores) == count and np.abs(scores - wanted[:count]).max() <= limit
        for scores, count in zip(found, (1, 2, 5), strict=True)
    )
