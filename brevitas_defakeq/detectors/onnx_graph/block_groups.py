"""Steps grouped as the original network's blocks: what a run reconstructs as one unit."""

from dataclasses import dataclass

from brevitas_defakeq.detectors.onnx_graph.program import Step, apart_from
from brevitas_defakeq.nn.graph_network import scopes_of

#: A group without a name of its own holds at most as many layers as a unit of reconstruction.
_MAX_LAYERS = 6


@dataclass
class _Range:
    """Steps [start, end) with one value in and one out, and their scope's name."""

    start: int
    end: int
    name: str


def group_blocks(steps: list[Step], image: str, outputs: list[str]) -> list[Step]:
    """The steps with each block as one step of kind "graph".

    A block has one value in and one out. It is a scope of the names (``blocks.3``), or, where names have no
    scopes, what lies between two points where only one value is alive.
    """
    cuts = _single_values(steps, image, outputs)
    taken = [*_scoped(steps, cuts)]
    taken += _unnamed(steps, cuts, taken)
    grouped: list[Step] = []
    position = 0
    for block in sorted(taken, key=lambda block: block.start):
        grouped += [
            *steps[position : block.start],
            _as_step(steps[block.start : block.end], block.name, cuts[block.start]),
        ]
        position = block.end
    return grouped + steps[position:]


def _single_values(steps: list[Step], image: str, outputs: list[str]) -> dict[int, str]:
    """Position -> the one value that is alive before the step there (at the end: the only output)."""
    last = {name: index for index, step in enumerate(steps) for name in step.values}
    last.update(dict.fromkeys(outputs, len(steps)))
    alive, cuts = {image}, {}
    for index in range(len(steps) + 1):
        alive = {name for name in alive if last.get(name, -1) >= index}
        if len(alive) == 1:
            cuts[index] = next(iter(alive))
        if index < len(steps):
            alive |= set(steps[index].outputs)
    return cuts


def _scoped(steps: list[Step], cuts: dict[int, str]) -> list[_Range]:
    """Blocks by name, the outermost that are no lists of blocks."""
    named = {index: step.name for index, step in enumerate(steps) if "." in step.name and step.tensors}
    scopes: dict[str, list[int]] = {}
    for index, name in named.items():
        for scope in scopes_of(name):
            scopes.setdefault(scope, []).append(index)
    found: list[_Range] = []
    for scope, members in scopes.items():
        inside = any(scope.startswith(f"{block.name}.") for block in found)
        layers = sum(
            steps[index].tensors["weight"].dim() > 1 for index in members if "weight" in steps[index].tensors
        )
        if _is_list(scope, [named[index] for index in members]) or inside or not 2 <= layers <= _MAX_LAYERS:
            continue
        start = max((cut for cut in cuts if cut <= members[0]), default=-1)
        end = min((cut for cut in cuts if cut > members[-1]), default=-1)
        named_inside = (
            named.get(index, "") for index in range(start, end) if index in named or _is_layer(steps[index])
        )
        alone = all(name.startswith(f"{scope}.") for name in named_inside)
        if (
            min(start, end) >= 0
            and alone
            and _fits(steps[start:end], scope)
            and not _overlap(found, start, end)
        ):
            found.append(_Range(start, end, scope))
    return found


def _is_layer(step: Step) -> bool:
    """Whether it has weights, and is no function with a constant of its own."""
    return "weight" in step.tensors


def _is_list(scope: str, names: list[str]) -> bool:
    """Whether a scope holds several numbered scopes (``0``, ``block1``): it is taken apart."""
    children = {name.removeprefix(f"{scope}.").partition(".")[::2] for name in names}
    numbered = {child for child, rest in children if rest and child[-1].isdigit()}
    return len(numbered) > 1 and numbered == {child for child, _ in children}


def _unnamed(steps: list[Step], cuts: dict[int, str], taken: list[_Range]) -> list[_Range]:
    """What lies between two neighbouring cuts and holds several layers, none with a scope."""
    found: list[_Range] = []
    positions = sorted(cuts)
    for start, end in zip(positions, positions[1:], strict=False):
        layers = ["." in step.name for step in steps[start:end] if "weight" in step.tensors]
        if 2 <= len(layers) <= _MAX_LAYERS and not any(layers) and not _overlap(taken, start, end):
            found.append(_Range(start, end, f"block_{len(found)}"))
    return found


def _overlap(ranges: list[_Range], start: int, end: int) -> bool:
    return any(start < block.end and block.start < end for block in ranges)


def _fits(steps: list[Step], scope: str) -> bool:
    """Whether no step is called as the scope itself is."""
    return all(step.name != scope for step in steps)


def _as_step(steps: list[Step], name: str, source: str) -> Step:
    """One step of several; names that begin with its own are shortened, and others give way to them."""
    inside = f"{name}."
    names = [step.name.removeprefix(inside) for step in steps if step.name.startswith(inside)]
    for step in steps:
        if step.name.startswith(inside):
            step.name = step.name.removeprefix(inside)
        else:
            step.name = apart_from(names, step.name)
            names.append(step.name)
    return Step(name, "graph", [source], list(steps[-1].outputs), {}, steps=steps)
