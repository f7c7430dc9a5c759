"""Costs at one rate, width by width, by FINN's own functions."""

from pathlib import Path

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from hw.boards import Board
from hw.estimate import LayerCost, node_cost
from hw.folding import fold_to_device_, fold_to_rate_, layer_cycles
from hw.profile_layers import PRODUCT_OPS, ProfileLayer, match_products, owning_layers, profile_layers
from hw.read_profile import read_profile
from hw.steps import run_step, to_hardware

#: Names in the file -> fields of ``LayerCost`` that add up over the nodes.
_ADDED = {"lut": "lut", "bram": "bram18", "dsp": "dsp"}
#: What says which memories of thresholds are block RAM (`hw.folding.place_thresholds_`).
_PLACES = ("depth_trigger_bram", "depth_trigger_uram")


def hardware_graph(path: Path) -> tuple[ModelWrapper, list[ProfileLayer]]:
    """FINN's hardware layers of a profile, for no device yet, and the torch layers in it."""
    profile = read_profile(path)
    layers = profile_layers(profile)
    return to_hardware(profile), layers


def fitting_rate(graph: ModelWrapper, board: Board) -> float:
    """The highest rate that the board allows at the widths that the graph has."""
    specialized = run_step("specialize", graph, board)
    fold_to_device_(specialized, board)
    cycles = max(layer_cycles(specialized).values())
    return board.frames_per_second(cycles) * (1 - 1e-9)  # back to cycles it is rounded down


class WidthCostTable:
    """What layers take at one rate.

    Which thresholds are kept in block RAM is a choice for the whole network: it is made once, at the run's
    own widths, or a layer's costs would hang on the others' widths.

    Attributes:
        fixed: resource -> what no layer's width has a part in; of the cycles, the slowest such node's.
        layers: layer -> resource -> one figure a width; also "style" and "folding" of its product.
    """

    def __init__(self, rate: float, board: Board, graph: ModelWrapper) -> None:
        self.rate, self.board = rate, board
        specialized = run_step("specialize", graph, board)
        fold_to_rate_(specialized, board, rate)
        thresholds = specialized.get_nodes_by_op_type("Thresholding_rtl")
        self.places = {
            name: getCustomOp(node).get_nodeattr(name) for node in thresholds[:1] for name in _PLACES
        }
        self.fixed = dict.fromkeys((*_ADDED, "cycles"), 0)
        self.layers: dict[str, dict[str, list]] = {}
        self.slowest, self.partial = 0, set()

    def add(self, graph: ModelWrapper, layers: list[ProfileLayer]) -> None:
        """The next width: a graph of hardware layers whose weights have it."""
        folded = run_step("specialize", graph, self.board)
        fold_to_rate_(folded, self.board, self.rate)
        for node in folded.get_nodes_by_op_type("Thresholding_rtl"):
            for name, depth in self.places.items():
                getCustomOp(node).set_nodeattr(name, depth)
        self.slowest = max(self.slowest, *layer_cycles(folded).values())
        folded = run_step("decompose", folded, self.board)
        belongs = owning_layers(folded, match_products(folded, layers))
        own, others = {layer.name: [] for layer in layers}, []
        for node in folded.graph.node:
            cost = node_cost(node, self.board.part)
            own.get(belongs.get(node.output[0]), others).append((node.op_type, cost))
            self.partial.update((node.op_type, name) for name in cost.unestimated)
        self._add_fixed([cost for _, cost in others])
        for name, found in own.items():
            self._add_layer(name, found)

    def _add_fixed(self, found: list[LayerCost]) -> None:
        """The same at every width; where it is not (a stream behind two layers), the most that it takes."""
        for name, key in _ADDED.items():
            self.fixed[name] = max(self.fixed[name], sum(getattr(cost, key) for cost in found))
        self.fixed["cycles"] = max([self.fixed["cycles"], *(cost.cycles for cost in found)])

    def _add_layer(self, name: str, found: list[tuple[str, LayerCost]]) -> None:
        rows = self.layers.setdefault(name, {key: [] for key in (*_ADDED, "cycles", "style", "folding")})
        for resource, key in _ADDED.items():
            rows[resource].append(sum(getattr(cost, key) for _, cost in found))
        rows["cycles"].append(max(cost.cycles for _, cost in found))
        (product,) = [cost for kind, cost in found if kind.startswith(PRODUCT_OPS)]
        rows["style"].append(product.style)
        rows["folding"].append(product.folding)

    def content(self) -> dict:
        """As it stands in the file."""
        return {
            "fps": self.rate, "cycles": self.slowest, "fixed": self.fixed, "layers": self.layers,
            "thresholds": self.places,
            "lower_bounds": sorted(f"{kind}: {name}" for kind, name in self.partial),
        }  # fmt: skip
