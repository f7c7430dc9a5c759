"""Attention: the operator of opset 23, written out; and the groups of steps that are attention."""

import math

from brevitas_defakeq.detectors.onnx_graph.converter import Node, Value
from brevitas_defakeq.detectors.onnx_graph.program import Step, apart_from, readers_by_value

#: What may lie between the product of q and k, the softmax and the product with v.
_BETWEEN = {"mul", "div", "add", "sub", "where", "reshape", "clamp", "maximum", "causal_mask", "isnan", "eq"}


def attention(node: Node) -> None:
    """softmax(scale q k' + mask) v, as the steps that other exporters write."""
    if any(node.has(position) for position in (4, 5, 6)) or node.attribute("softcap", 0.0):
        node.refuse("a cache or a soft cap of an attention is for text")
    split = len(node.data(0).shape) == 3  # [N, tokens, heads * width]
    heads = [int(node.attribute(name, 1)) for name in ("q_num_heads", "kv_num_heads", "kv_num_heads")]
    q, k, v = (
        _heads(node, position, count) if split else node.data(position)
        for position, count in enumerate(heads)
    )
    if q.shape[1] != k.shape[1]:
        node.refuse("its queries share keys")
    turned = node.function("permute", [k], node.temporary("turned"), axes=[0, 1, 3, 2])
    scores = node.function("matmul", [q, turned], node.temporary("products"))
    scale = node.attribute("scale", None) or 1 / math.sqrt(q.shape[-1])
    scores = node.function("mul", [scores, float(scale)], node.temporary("scaled"))
    if node.attribute("is_causal", 0):
        scores = node.function("causal_mask", [scores], node.temporary("causal"))
    if node.has(3):
        mask = node.data(3)
        if mask.constant is None or mask.constant.dtype == bool:
            node.refuse("its mask is boolean or depends on the image")
        scores = node.function("add", [scores, mask], node.temporary("masked"))
    shares = node.graph.emit(node, "Softmax", [scores], {"dim": -1}, outputs=node.temporary("shares"))[0]
    made = node.function("matmul", [shares, v], node.temporary("weighted") if split else None)
    if split:
        made = node.function("permute", [made], node.temporary("joined"), axes=[0, 2, 1, 3])
        node.function("reshape", [made], shape=[-1, made.shape[1], made.shape[2] * made.shape[3]])


def _heads(node: Node, position: int, count: int) -> Value:
    x = node.data(position)
    shape = [-1, x.shape[1], count, x.shape[2] // count]
    x = node.function("reshape", [x], node.temporary(f"split{position}"), shape=shape)
    return node.function("permute", [x], node.temporary(f"heads{position}"), axes=[0, 2, 1, 3])


def group_attention(steps: list[Step], kept: set[str]) -> list[Step]:
    """The steps with each written-out attention as one; ``kept``: values that have to stay visible."""
    found = list(steps)
    for softmax in steps:
        if softmax.kind != "Softmax" or softmax.options["dim"] != -1:
            continue
        group = _attention_around(found, softmax, kept)
        if group is not None:
            found = _grouped(found, *group)
    return found


def _attention_around(
    steps: list[Step], softmax: Step, kept: set[str]
) -> tuple[list[Step], Step, Step] | None:
    """The steps of an attention, and its first and last product; None if the softmax is in none."""
    makers = {name: step for step in steps for name in step.outputs}
    readers = readers_by_value(steps)
    first, before = _back(softmax, makers, readers, kept)
    last, after = _on(softmax, readers, kept)
    if (
        first is None
        or last is None
        or last.inputs[0] not in {name for step in (softmax, *after) for name in step.outputs}
    ):
        return None
    inside = [step for step in steps if any(step is one for one in (first, *before, softmax, *after, last))]
    return inside, first, last


def _back(
    step: Step, makers: dict[str, Step], readers: dict[str, list[Step]], kept: set[str]
) -> tuple[Step | None, list[Step]]:
    """The product of q and k that ends up in this softmax, and what lies between."""
    between: list[Step] = []
    while True:
        sources = [
            makers[name] for name in step.values
            if name in makers and len(readers[name]) == 1 and name not in kept
            and _may_be_inside(makers[name])
        ]  # fmt: skip
        product = next((source for source in sources if _is_product(source)), None)
        if product is not None:
            return product, between
        if not sources:
            return None, []
        step = sources[0]
        between.append(step)


def _on(step: Step, readers: dict[str, list[Step]], kept: set[str]) -> tuple[Step | None, list[Step]]:
    """The product with v that reads this softmax, and what lies between."""
    between: list[Step] = []
    while True:
        name = step.outputs[0]
        found = list({id(one): one for one in readers.get(name, [])}.values())
        guards = [one for one in found if one.options.get("function") == "isnan"]
        others = [one for one in found if one not in guards]
        if len(others) != 1 or name in kept:
            return None, []
        if _is_product(others[0]):
            return others[0], between
        if not _may_be_inside(others[0]):
            return None, []
        between += [*guards, others[0]]
        step = others[0]


def _is_product(step: Step) -> bool:
    return step.options.get("function") == "matmul" and None not in step.inputs


def _may_be_inside(step: Step) -> bool:
    return step.kind == "function" and step.options["function"] in (*_BETWEEN, "matmul")


def _grouped(steps: list[Step], inside: list[Step], first: Step, last: Step) -> list[Step]:
    """The steps with those inside as one step where the last of them was."""
    made = {name for step in inside for name in step.outputs}
    inputs = list(dict.fromkeys(name for step in inside for name in step.values if name not in made))
    name = ".".join(filter(None, (first.name.rpartition(".")[0], "attention")))
    name = apart_from([step.name for step in steps], name)
    options = {"first": first.name, "last": last.name}
    group = Step(name, "attention", [*inputs], list(last.outputs), options, steps=inside)
    return [
        group if step is last else step
        for step in steps
        if step is last or all(step is not one for one in inside)
    ]
