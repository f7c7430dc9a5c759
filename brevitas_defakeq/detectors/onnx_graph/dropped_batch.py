"""Files for one image that drop the axis of the batch: it stays here, and what follows has to allow it."""

from brevitas_defakeq.detectors.onnx_graph.converter import Handler, Node, Value

#: Operators on each number by itself; further operands have to be constants.
_ELEMENTWISE = {
    "Add", "Sub", "Mul", "Div", "Pow", "Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal", "Relu", "LeakyRelu",
    "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Tanh", "Softplus", "Softsign",
    "Mish", "Gelu", "Erf", "Clip", "Cast", "Identity", "Dropout",
}  # fmt: skip


def drop_batch(node: Node, value: Value) -> None:
    """The node makes the value, whose first axis, that of the batch, it drops in the file."""
    if value.batch_axis != 0:
        node.refuse("it removes the axis of the batch")
    node.alias(value)
    node.graph.without_batch.add(node.outputs[0])


def after_dropped_batch(convert: Handler) -> Handler:
    """The converter for nodes that may read a value without axis of the batch.

    It refuses those that count axes from the front, or mix values.
    """

    def converted(node: Node) -> None:
        if not node.graph.without_batch.intersection(node.proto.input):
            convert(node)
        elif _restores(node):
            _restore(node, convert)
        elif _passes(node):
            convert(node)
            node.graph.without_batch.add(node.outputs[0])
        else:
            node.refuse(
                "the file drops the axis of the batch before it; export it with the axes that squeeze shall "
                "remove"
            )

    return converted


def _restores(node: Node) -> bool:
    if node.op == "Unsqueeze":
        rank = len(node.data(0).shape) - 1 + len(node.integers("axes", 1))
        return 0 in [node.axis(axis, rank) for axis in node.integers("axes", 1)]
    return node.op == "Reshape" and int(node.array(1)[0]) == 1 and 0 not in node.array(1)


def _restore(node: Node, convert: Handler) -> None:
    if node.op == "Reshape":
        convert(node)
        return
    x, axes = node.data(0), node.integers("axes", 1)
    rank = len(x.shape) - 1 + len(axes)
    others = [axis for axis in (node.axis(axis, rank) for axis in axes) if axis != 0]
    if others:
        node.function("unsqueeze", [x], axes=others)
    else:
        node.alias(x)


def _passes(node: Node) -> bool:
    x, *others = (value for value in node.inputs if value is not None)
    rank = len(node.data(0).shape) - 1
    if node.op in ("Softmax", "LogSoftmax"):
        return node.attribute("axis", -1 if node.opset >= 13 else 1) == -1
    if node.op == "MatMul":
        return rank > 0 and others[0].constant is not None and others[0].constant.ndim == 2
    values = [x, *others]
    small = all(len(value.shape) <= rank for value in values if value.constant is not None)
    return node.op in _ELEMENTWISE and small and sum(value.constant is None for value in values) == 1
