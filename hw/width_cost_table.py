"""Costs of every layer at one rate for several bit-widths, by FINN's estimators."""

from pathlib import Path

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from hw.boards import Board
from hw.estimate import LayerCost, node_cost
from hw.folding import fold_to_device_, fold_to_rate_, layer_cycles
from hw.profile_layers import PRODUCT_OPS, ProfileLayer, match_products, owning_layers, profile_layers
from hw.read_profile import read_profile
from hw.steps import run_step, to_hardware

#: Name in the cost file -> field of ``LayerCost`` that is summed over nodes.
_SUMMED = {"lut": "lut", "bram": "bram18", "dsp": "dsp"}
#: Attributes that put threshold memories into block RAM (`hw.folding.place_thresholds_`).
_THRESHOLD_MEMORY = ("depth_trigger_bram", "depth_trigger_uram")


def hardware_graph(path: Path) -> tuple[ModelWrapper, list[ProfileLayer]]:
    """A profile as FINN's hardware layers, not yet for any device, and its torch layers."""
    profile = read_profile(path)
    layers = profile_layers(profile)
    return to_hardware(profile), layers


def fitting_rate(graph: ModelWrapper, board: Board) -> float:
    """The highest rate, in frames per second, that the board allows at the graph's own widths."""
    specialized = run_step("specialize", graph, board)
    fold_to_device_(specialized, board)
    cycles = max(layer_cycles(specialized).values())
    return board.frames_per_second(cycles) * (1 - 1e-9)  # so that rounding down gives the same cycles


class WidthCostTable:
    """Costs of the layers at one rate, one entry per width.

    Which thresholds are in block RAM is decided once for the whole network, at the run's own widths;
    otherwise a layer's cost would depend on the widths of others.

    Args:
        rate: frames per second.
        graph: hardware layers at the run's own widths.

    Attributes:
        fixed: resource -> cost that no width changes; for cycles, those of the slowest such node.
        layers: layer -> resource -> one number per width; also "style" and "folding" of its product.
    """

    def __init__(self, rate: float, board: Board, graph: ModelWrapper) -> None:
        self.rate, self.board = rate, board
        specialized = run_step("specialize", graph, board)
        fold_to_rate_(specialized, board, rate)
        thresholds = specialized.get_nodes_by_op_type("Thresholding_rtl")
        self.threshold_memory = {
            name: getCustomOp(node).get_nodeattr(name)
            for node in thresholds[:1]
            for name in _THRESHOLD_MEMORY
        }
        self.fixed = dict.fromkeys((*_SUMMED, "cycles"), 0)
        self.layers: dict[str, dict[str, list]] = {}
        self.slowest = 0
        self.unestimated: set[tuple[str, str]] = set()

    def add(self, graph: ModelWrapper, layers: list[ProfileLayer]) -> None:
        """Add the next width: a graph of hardware layers with weights of that width, and its layers."""
        folded = run_step("specialize", graph, self.board)
        fold_to_rate_(folded, self.board, self.rate)
        for node in folded.get_nodes_by_op_type("Thresholding_rtl"):
            for name, depth in self.threshold_memory.items():
                getCustomOp(node).set_nodeattr(name, depth)
        self.slowest = max(self.slowest, *layer_cycles(folded).values())
        folded = run_step("decompose", folded, self.board)
        owners = owning_layers(folded, match_products(folded, layers))
        own: dict[str, list[tuple[str, LayerCost]]] = {layer.name: [] for layer in layers}
        others: list[tuple[str, LayerCost]] = []
        for node in folded.graph.node:
            cost = node_cost(node, self.board.part)
            own.get(owners.get(node.output[0], ""), others).append((node.op_type, cost))
            self.unestimated.update((node.op_type, name) for name in cost.unestimated)
        self._add_fixed([cost for _, cost in others])
        for name, found in own.items():
            self._add_layer(name, found)

    def _add_fixed(self, found: list[LayerCost]) -> None:
        """Costs outside all layers: the maximum over the widths, between which streams may differ."""
        for name, key in _SUMMED.items():
            self.fixed[name] = max(self.fixed[name], sum(getattr(cost, key) for cost in found))
        self.fixed["cycles"] = max([self.fixed["cycles"], *(cost.cycles for cost in found)])

    def _add_layer(self, name: str, found: list[tuple[str, LayerCost]]) -> None:
        rows = self.layers.setdefault(name, {key: [] for key in (*_SUMMED, "cycles", "style", "folding")})
        for resource, key in _SUMMED.items():
            rows[resource].append(sum(getattr(cost, key) for _, cost in found))
        rows["cycles"].append(max(cost.cycles for _, cost in found))
        (product,) = [cost for kind, cost in found if kind.startswith(PRODUCT_OPS)]
        rows["style"].append(product.style)
        rows["folding"].append(product.folding)

    def content(self) -> dict:
        """The table's content in the cost file."""
        return {
            "fps": self.rate, "cycles": self.slowest, "fixed": self.fixed, "layers": self.layers,
            "thresholds": self.threshold_memory,
            "lower_bounds": sorted(f"{kind}: {name}" for kind, name in self.unestimated),
        }  # fmt: skip
