"""LayerNorm where a file writes it out, as files below opset 17 do."""

from collections.abc import Callable, Mapping

from brevitas_defakeq.detectors.onnx_graph.program import Step, readers_by_value

#: (value, function) -> the step of that function that makes the value, if it does.
_Maker = Callable[[object, str], Step | None]


def join_norms(steps: list[Step], shapes: Mapping[str, tuple[int, ...]], kept: set[str]) -> list[Step]:
    """The steps with each written-out LayerNorm over the last axis as one.

    Args:
        shapes: of the values. ``kept``: values that have to stay visible.
    """
    makers = {name: step for step in steps for name in step.outputs}
    readers = readers_by_value(steps)

    def made_by(name: object, function: str) -> Step | None:
        step = makers.get(name) if isinstance(name, str) else None
        return step if step is not None and step.options.get("function") == function else None

    def only_reader(step: Step, function: str) -> Step | None:
        found = readers.get(step.outputs[0], [])
        one = len(found) == 1 and step.outputs[0] not in kept
        return found[0] if one and found[0].options.get("function") == function else None

    dropped: set[int] = set()
    joined: dict[int, Step] = {}
    for quotient in steps:
        parts = _parts(quotient, made_by, shapes)
        scaled = only_reader(quotient, "mul") if parts else None
        shifted = only_reader(scaled, "add") if scaled is not None else None
        if parts is None or scaled is None or shifted is None:
            continue
        source, eps, inner = parts
        width = shapes[source][-1]
        gain, shift = (next(iter(step.tensors.values()), None) for step in (scaled, shifted))
        if gain is None or shift is None or gain.numel() != width or shift.numel() != width:
            continue
        tensors = {"weight": gain.reshape(-1), "bias": shift.reshape(-1)}
        options = {"normalized_shape": [width], "eps": eps}
        joined[id(shifted)] = Step(
            scaled.name, "LayerNorm", [source], list(shifted.outputs), options, tensors
        )
        dropped |= {id(step) for step in (*inner, quotient, scaled)}
    return [joined.get(id(step), step) for step in steps if id(step) not in dropped]


def _parts(
    quotient: Step, made_by: _Maker, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, float, list[Step]] | None:
    """(x, eps, the steps) of ``(x - mean) / sqrt(mean((x - mean)^2) + eps)``, or None."""
    if quotient.options.get("function") != "div" or len(quotient.values) != 2:
        return None
    centred, root = made_by(quotient.inputs[0], "sub"), made_by(quotient.inputs[1], "sqrt")
    padded = made_by(root.inputs[0], "add") if root else None
    if centred is None or root is None or padded is None or len(padded.values) != 1:
        return None
    variance, eps = (
        made_by(padded.values[0], "mean"),
        [item for item in padded.inputs if isinstance(item, float)],
    )
    square = made_by(variance.inputs[0], "pow") or made_by(variance.inputs[0], "mul") if variance else None
    average = made_by(centred.inputs[1], "mean")
    if variance is None or square is None or average is None or not eps:
        return None
    squared = square.inputs[1] == 2.0 or square.inputs[0] == square.inputs[1]
    base = made_by(square.inputs[0], "sub")
    source = centred.inputs[0]
    if (
        base is None
        or base.inputs != centred.inputs
        or average.inputs != [source]
        or not isinstance(source, str)
    ):
        return None
    last = len(shapes[source]) - 1
    axes = all(
        step.options["attributes"] == {"axes": [last], "keepdim": True} for step in (average, variance)
    )
    if not squared or not axes:
        return None
    return source, eps[0], [centred, root, padded, variance, square, average, base]
