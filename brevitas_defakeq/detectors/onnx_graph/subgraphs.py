"""Graphs inside of nodes: what they read, and the branch of an `If` as nodes of the graph around it."""

from collections.abc import Iterable, Iterator

from onnx import GraphProto, ModelProto, NodeProto, helper


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and all graphs inside of its nodes."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs_of(inner)


def reads_of(node: NodeProto) -> Iterator[str]:
    """The names that a node reads, once for each time, those of its subgraphs included."""
    yield from filter(None, node.input)
    for graph in subgraphs(node):
        own = made_in(graph)
        inside = [name for inner in graph.node for name in reads_of(inner)]
        yield from (name for name in (*inside, *(value.name for value in graph.output)) if name not in own)


def made_in(graph: GraphProto) -> set[str]:
    """The names that a graph gives to values itself."""
    own = {value.name for value in (*graph.input, *graph.initializer)}
    return own | {name for node in graph.node for name in node.output if name}


def names_in(model: ModelProto) -> set[str]:
    """Every name of a value in a model."""
    return {name for graph in graphs_of(model.graph) for name in made_in(graph)}


def drop_unread_(graph: GraphProto) -> None:
    """Remove the nodes whose results nothing reads, and put each node behind those it reads."""
    order = _order(graph)
    read, kept = {value.name for value in graph.output}, []
    for index in reversed(order):
        node = graph.node[index]
        if read.intersection(filter(None, node.output)):
            kept.append(index)
            read.update(reads_of(node))
    kept.reverse()
    if kept != [*range(len(graph.node))]:
        nodes = [NodeProto.FromString(graph.node[index].SerializeToString()) for index in kept]
        del graph.node[:]
        graph.node.extend(nodes)


def _order(graph: GraphProto) -> list[int]:
    """The nodes' positions, in the file's order where they can run in it; what can never run comes last."""
    missing = {name for node in graph.node for name in node.output if name}
    found: list[int] = []
    waiting = [*range(len(graph.node))]
    while waiting:
        left = []
        for index in waiting:
            if missing.isdisjoint(reads_of(graph.node[index])):
                found.append(index)
                missing.difference_update(graph.node[index].output)
            else:
                left.append(index)
        if len(left) == len(waiting):
            break
        waiting = left
    return found + waiting


def branch_of(node: NodeProto, taken: bool, used: set[str]) -> GraphProto:
    """The branch of an `If` whose last nodes make the results of the `If`, every name of its own being new.

    Args:
        taken: the condition.
        used: the names of the graph around it; those of the branch are added.
    """
    wanted = "then_branch" if taken else "else_branch"
    branch = GraphProto()
    branch.CopyFrom(next(attribute.g for attribute in node.attribute if attribute.name == wanted))
    own = made_in(branch)
    names = {name: free_name(name, used) for name in sorted(own & used)}
    used |= own | {*names.values()}
    _rename_(branch, names)
    branch.node.extend(
        helper.make_node("Identity", [value.name], [result])
        for value, result in zip(branch.output, node.output, strict=True)
        if result
    )
    return branch


def free_name(name: str, used: Iterable[str]) -> str:
    """The name, with the smallest number behind it that makes it new."""
    taken = used if isinstance(used, (set, frozenset)) else set(used)
    count, found = 0, name
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    return found


def _rename_(graph: GraphProto, names: dict[str, str]) -> None:
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in subgraphs(node):
            own = made_in(inner)
            _rename_(inner, {old: new for old, new in names.items() if old not in own})
