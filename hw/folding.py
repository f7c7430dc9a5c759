"""How much of each layer works at once: to a rate, or as fast as a device allows."""

from hw.finn_quirks import FOLDED_HERE

#: Bits of weights that a processing element may take at once: FINN's default, and its largest.
_WEIGHT_WIDTHS = (36, 8191)


def fold_(model, cycles: int) -> int:
    """Fold every layer of a specialized graph to at most ``cycles`` a frame, in place.

    Returns:
        The cycles of the slowest layer; above ``cycles`` where no folding reaches them.
    """
    from finn.transformation.fpgadataflow.set_folding import SetFolding

    slowest = 0
    for width in _WEIGHT_WIDTHS:
        # a second pass would slow everything down to what can be no faster; here the caller decides that
        SetFolding(cycles, width, two_pass_relaxation=False).apply(model)
        _fold_rest_(model, cycles)
        slowest = max(layer_cycles(model).values())
        if slowest <= cycles:
            break
    return slowest


def layer_cycles(model) -> dict[str, int]:
    """Cycles a frame of every hardware layer."""
    from qonnx.custom_op.registry import getCustomOp

    return {
        node.name: int(getCustomOp(node).get_exp_cycles())
        for node in model.graph.node
        if node.domain.startswith("finn.custom_op.fpgadataflow")
    }


def _fold_rest_(model, cycles: int) -> None:
    """What `SetFolding` does not know: the narrowest parallelism of the last axis within ``cycles``."""
    from finn.transformation.fpgadataflow.set_folding import divisors
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        attribute = FOLDED_HERE.get(node.op_type)
        if attribute is None:
            continue
        layer = getCustomOp(node)
        for value in divisors(int(layer.get_normal_output_shape()[-1])):
            layer.set_nodeattr(attribute, value)
            if layer.get_exp_cycles() <= cycles:
                break
